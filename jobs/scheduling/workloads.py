"""Backlogs like those of a real fleet, and how long the scheduler thinks about them.

For `benchmarks/` and replays; chance and clock are the caller's, so that this stays repeatable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from jobs.scheduling.planning import plan
from jobs.scheduling.queue import Queue, settle
from jobs.scheduling.rows import AgentView, Tier, WaitingJob

GIB = 1024**3
TIER_SHARES = {Tier.TURBO: 1.0, Tier.FAST: 3.0, Tier.RELAX: 6.0}
MEMORY_BYTES = (4 * GIB, 7 * GIB, 14 * GIB)
COST_SECONDS = (2.3, 7.0)


def make_backlog(
    chance: Random,
    *,
    jobs: int,
    organizations: int = 30,
    users: int = 10,
    models: int = 40,
    zipf: float = 1.1,
) -> list[WaitingJob]:
    """`users` per organization; the k-th model is asked for in proportion to 1/k^zipf."""
    popularity = [1 / rank**zipf for rank in range(1, models + 1)]
    digests = chance.choices(range(models), popularity, k=jobs)
    tiers = chance.choices(list(TIER_SHARES), list(TIER_SHARES.values()), k=jobs)
    return [
        WaitingJob(
            id=f"job_{number:09d}",
            organization_id=f"org_{chance.randrange(organizations):06d}",
            user_id=f"usr_{chance.randrange(users):06d}",
            tier=tier,
            model_digest=f"model_{digest:04d}",
            cost_seconds=chance.uniform(*COST_SECONDS),
            memory_bytes=chance.choice(MEMORY_BYTES),
            submitted_at=number / 1000,
        )
        for number, (digest, tier) in enumerate(zip(digests, tiers, strict=True))
    ]


def time_decisions(
    queue: Queue,
    agents: Sequence[AgentView],
    *,
    arrivals: Sequence[WaitingJob],
    clock: Callable[[], float],
) -> list[float]:
    """Seconds per decision, at a backlog that stays as long as it is.

    For each of `arrivals`: one agent in turn is idle (the others work), `plan` gives it a job, the
    job is settled and the arrival takes its place in line. Warm up by planning once before.
    """
    resident: dict[str, frozenset[str]] = {agent.id: agent.resident for agent in agents}
    taken = []
    for number, arrival in enumerate(arrivals):
        idle = agents[number % len(agents)].id
        views = [
            replace(
                agent,
                resident=resident[agent.id],
                free_slots=1 if agent.id == idle else 0,
                busy_until=None if agent.id == idle else float(number + 1),
            )
            for agent in agents
        ]
        began = clock()
        made = plan(queue, views, now=float(number))
        taken.append(clock() - began)
        for placement in made.placements:
            resident[placement.agent_id] = frozenset({placement.job.model_digest})
            settle(queue, placement.charge, placement.charged_seconds)
        queue.add(arrival)
    return taken
