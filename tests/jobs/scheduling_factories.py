"""Jobs and agents for the scheduler's tests: everything has a default, tests say what matters."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count

from jobs.scheduling import AgentView, Placement, Policy, Queue, Tier, WaitingJob, plan

GIB = 1024**3

_numbers = count()


def make_job(
    id: str = "",
    *,
    organization: str = "org_alpha",
    user: str = "usr_alice",
    tier: Tier = Tier.FAST,
    model: str = "model_a",
    cost: float = 10.0,
    gib: int = 8,
    at: float = 0.0,
    position: int = 0,
    labels: frozenset[str] = frozenset(),
    pictures: int = 1,
) -> WaitingJob:
    return WaitingJob(
        id=id or f"job_{next(_numbers):06d}",
        organization_id=organization,
        user_id=user,
        tier=tier,
        model_digest=model,
        cost_seconds=cost,
        memory_bytes=gib * GIB,
        submitted_at=at,
        position=position,
        labels=labels,
        pictures=pictures,
    )


def make_agent(
    id: str = "agt_1",
    *,
    slots: int = 1,
    gib: int = 24,
    resident: Sequence[str] = (),
    cached: Sequence[str] = (),
    busy_until: float | None = None,
    is_accepting: bool = True,
    labels: frozenset[str] = frozenset(),
) -> AgentView:
    return AgentView(
        id=id,
        free_slots=slots,
        memory_bytes=gib * GIB,
        resident=frozenset(resident),
        cached=frozenset(cached),
        busy_until=busy_until,
        is_accepting=is_accepting,
        labels=labels,
    )


def make_queue(*jobs: WaitingJob, policy: Policy | None = None) -> Queue:
    return Queue(policy=policy, waiting=jobs)


def place_one(queue: Queue, agent: AgentView | None = None) -> Placement:
    """One decision for one idle agent."""
    (placement,) = plan(queue, [agent or make_agent()], now=0.0).placements
    return placement


def place_all(queue: Queue, agent: AgentView | None = None) -> list[str]:
    """The ids in the order in which one agent, idle each time, would get them."""
    order = []
    while queue:
        order.append(place_one(queue, agent).job_id)
    return order


def make_chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # workloads are to be repeatable, not secret
