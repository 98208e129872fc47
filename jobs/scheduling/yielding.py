"""Who should stop between two pictures, because something more urgent waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from jobs.scheduling.choosing import Held, eligible_users, first_free
from jobs.scheduling.index import AgentClass
from jobs.scheduling.policy import TIERS, Policy
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, WaitingJob

URGENCY = {tier: number for number, tier in enumerate(TIERS)}


def find_yields(
    queue: Queue,
    agents: Sequence[AgentView],
    classes: Mapping[str, AgentClass],
    held: Held,
    now: float,
    given: Collection[str],
) -> tuple[str, ...]:
    """One agent for each urgent job that no agent will be free for soon enough.

    `given` are the agents that this plan gave something to. An agent that holds the model, or is
    soonest at the end of a picture, is asked first.
    """
    policy = queue.policy
    able = [
        agent
        for agent in agents
        if agent.id in classes and agent.id not in given and _can_yield(agent, policy)
    ]
    if not able:
        return ()
    soon = sum(_is_soon_free(agent, policy, now) for agent in agents if agent.id in classes)
    asked: list[str] = []
    for job in _urgent(queue, held, now, limit=soon + len(able)):
        if soon:
            soon -= 1
            continue
        fitting = [agent for agent in able if _helps(job, agent, classes[agent.id], policy)]
        if fitting:
            chosen = min(fitting, key=lambda agent: _preference(job, agent))
            able.remove(chosen)
            asked.append(chosen.id)
    return tuple(asked)


def _can_yield(agent: AgentView, policy: Policy) -> bool:
    return (
        agent.running in policy.yielding_tiers
        and agent.yields_at is not None
        and not agent.is_yielding
    )


def _is_soon_free(agent: AgentView, policy: Policy, now: float) -> bool:
    """It will be done, or was asked to yield, and takes an urgent job without being asked."""
    if agent.is_yielding:
        return True
    return agent.busy_until is not None and agent.busy_until <= now + policy.yield_gain_seconds


def _urgent(queue: Queue, held: Held, now: float, *, limit: int) -> list[WaitingJob]:
    """The next jobs of the tiers that do not yield, after their patience, the most urgent first."""
    found: list[WaitingJob] = []
    for tier in TIERS:
        node = queue.everything.root.children.get(tier)
        if tier in queue.policy.yielding_tiers or node is None or not first_free(node, held):
            continue
        users = eligible_users(node, queue.policy, held)
        lines = (entry[3] for user in users for entry in user.waiting)
        jobs = islice(lines, limit - len(found))
        found.extend(job for job in jobs if _is_late(job, queue.policy, now))
    return found


def _is_late(job: WaitingJob, policy: Policy, now: float) -> bool:
    patience = policy.patience(job.tier, policy.load_seconds(job.model_digest))
    return now - job.submitted_at >= patience


def _helps(job: WaitingJob, agent: AgentView, kind: AgentClass, policy: Policy) -> bool:
    if agent.running is None or agent.yields_at is None or agent.busy_until is None:
        return False
    is_earlier = agent.yields_at + policy.yield_gain_seconds <= agent.busy_until
    return is_earlier and URGENCY[job.tier] < URGENCY[agent.running] and kind.accepts(job)


def _preference(job: WaitingJob, agent: AgentView) -> tuple[bool, float, str]:
    return (job.model_digest not in agent.resident, agent.yields_at or 0.0, agent.id)
