"""Why is it waiting, and how many are before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import ceil, floor

from jobs.scheduling.choosing import Member
from jobs.scheduling.fitting import obstacle_for
from jobs.scheduling.index import Node, place_in_line
from jobs.scheduling.planning import NO_MEMBERS_IN_FLIGHT, NOTHING_IN_FLIGHT
from jobs.scheduling.policy import TIERS
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, Explanation, Tier, WaitingJob, WaitReason


def explain(
    queue: Queue,
    job_id: str,
    agents: Sequence[AgentView],
    *,
    now: float,
    in_flight: Mapping[str, int] = NOTHING_IN_FLIGHT,
    members_in_flight: Mapping[Member, int] = NO_MEMBERS_IN_FLIGHT,
) -> Explanation | None:
    """None if the job does not wait in this queue.

    The jobs ahead are what the flows beside its own would be given, at fair shares and their mean
    job, until it is this job's turn. Resident models shift that by up to the window.
    """
    job = queue.get(job_id)
    if job is None:
        return None
    own, others, seconds = _ahead(queue, job)
    limit = _limit(queue, job, in_flight, members_in_flight)
    reason, data = limit or _reason(job, agents, now, own, others)
    return Explanation(
        job_id=job_id,
        jobs_ahead=own + others,
        own_jobs_ahead=own,
        seconds_ahead=seconds,
        reason=reason,
        data=data,
    )


def _limit(
    queue: Queue,
    job: WaitingJob,
    in_flight: Mapping[str, int],
    members_in_flight: Mapping[Member, int],
) -> tuple[WaitReason, Mapping[str, int | float | str]] | None:
    """What of its owner's own making holds it back."""
    member = (job.organization_id, job.user_id)
    cap, running = queue.policy.cap_of(job.organization_id), in_flight.get(job.organization_id, 0)
    if running >= cap:
        return WaitReason.ORGANIZATION_LIMIT, {"in_flight": running, "limit": int(cap)}
    own_cap, own_running = queue.policy.member_cap_in(member[0]), members_in_flight.get(member, 0)
    if own_running >= own_cap:
        return WaitReason.MEMBER_LIMIT, {"in_flight": own_running, "limit": int(own_cap)}
    return None


def _reason(
    job: WaitingJob, agents: Sequence[AgentView], now: float, own: int, others: int
) -> tuple[WaitReason, Mapping[str, int | float | str]]:
    obstacle = obstacle_for(job.need, agents)
    if obstacle is not None:
        return obstacle[0], dict(obstacle[1])
    if others:
        return WaitReason.OTHERS_FIRST, {"jobs": own + others, "own_jobs": own}
    if own:
        return WaitReason.OWN_JOBS_FIRST, {"jobs": own}
    fitting = [agent for agent in agents if agent.is_accepting and job.need.is_met_by(agent)]
    if any(agent.busy_until is None and agent.free_slots > 0 for agent in fitting):
        return WaitReason.NEXT, {}
    free_at = min((agent.busy_until for agent in fitting if agent.busy_until), default=now)
    return WaitReason.AGENTS_BUSY, {
        "agents": len(fitting),
        "free_in_seconds": max(0.0, free_at - now),
    }


def _ahead(queue: Queue, job: WaitingJob) -> tuple[int, int, float]:
    """Own jobs ahead, others' jobs ahead, GPU-seconds of both."""
    nodes = [queue.everything.root]
    for key in job.path:
        nodes.append(nodes[-1].children[key])
    line = nodes[-1].waiting
    own = bisect_left(line, place_in_line(job))  # a prefix of an entry sorts right before it
    seconds = sum(entry[3].cost_seconds for entry in line[:own])
    others = 0
    for depth in (2, 1):
        siblings, flow = nodes[depth], nodes[depth + 1]
        turn = flow.entry[0] + seconds / queue.policy.weight(depth, flow.entry[2])
        for key, sibling in siblings.children.items():
            if sibling is flow:
                continue
            jobs = _served_before(sibling, flow, turn, queue.policy.weight(depth, key))
            others += jobs
            seconds += jobs * sibling.seconds / sibling.jobs
    for jobs, more in jobs_of_other_tiers(queue, job.tier, seconds):
        others += jobs
        seconds += more
    return own, others, seconds


def jobs_of_other_tiers(queue: Queue, own: Tier, seconds: float) -> list[tuple[int, float]]:
    """Jobs and their seconds before one that has so much of its own tier ahead of it."""
    policy, tiers = queue.policy, queue.everything.root.children
    share = policy.tier_reserves.get(own, 0.0)
    at_most = seconds * (1 - share) / share + policy.reserve_window_seconds if share else None
    found = []
    for tier in TIERS:
        node = tiers.get(tier)
        if node is None or tier == own:
            continue
        if TIERS.index(tier) > TIERS.index(own):
            at_most = policy.tier_reserves.get(tier, 0.0) * seconds
        taken = node.seconds if at_most is None else min(node.seconds, at_most)
        jobs = floor(node.jobs * taken / node.seconds)
        found.append((jobs, jobs * node.seconds / node.jobs))
        seconds += found[-1][1]
        if at_most is not None:
            at_most -= found[-1][1]
    return found


def _served_before(sibling: Node, flow: Node, turn: float, weight: float) -> int:
    """Jobs the sibling starts while its virtual time is behind `turn`."""
    behind = (turn - sibling.entry[0]) * weight / (sibling.seconds / sibling.jobs)
    wins_ties = sibling.entry[1:] < flow.entry[1:]
    jobs = floor(behind) + 1 if wins_ties else ceil(behind)
    return min(sibling.jobs, max(0, jobs))
