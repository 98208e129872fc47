"""The dispatcher explains: why watched jobs wait, and what a newcomer would find.

One object beside the dispatcher, asked after each round. It reads the live queue and changes
nothing in it; it takes a bounded time, at most once a second, and nothing if nobody looks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor

from django.db.models import F, Window
from django.db.models.functions import RowNumber
from redis.exceptions import RedisError

from jobs.explanations import Ahead, Why, say, watched
from jobs.lifecycle import JobStatus
from jobs.models import Job
from jobs.scheduling import AgentView, Explanation, Queue, Tier, WaitingJob
from jobs.scheduling.explanation import jobs_of_other_tiers
from jobs.scheduling.index import Node
from jobs.scheduling.policy import TIERS
from jobs.selectors import by_urgency

EVERY_SECONDS = 1.0
# How long the dispatcher may think about it each time; who is not reached is first the next time.
BUDGET_SECONDS = 0.05
# Of the waiting jobs of a workspace: the first of each person, as their queue drawer shows them.
JOBS_OF_A_PERSON = 60
JOBS_OF_A_WORKSPACE = 300
logger = logging.getLogger(__name__)


class Explainer:
    """Remembers when it last spoke, and whom it has kept waiting."""

    def __init__(self) -> None:
        self.said_at = -EVERY_SECONDS
        self.told: dict[str, float] = {}

    def publish(
        self,
        queue: Queue,
        agents: Sequence[AgentView],
        explain: Callable[[str], Explanation | None],
        *,
        now: float,
    ) -> None:
        """Say what is watched, if it is time to."""
        began = time.monotonic()
        if began - self.said_at < EVERY_SECONDS:
            return
        self.said_at = began
        try:
            names = watched()
            self.told = {name: self.told.get(name, 0.0) for name in names}
            for name in sorted(names, key=self.told.__getitem__):
                if time.monotonic() - began > BUDGET_SECONDS:
                    break
                self.told[name] = began
                _tell(name, queue, agents, explain, now)
        except RedisError:
            logger.warning("waiting is not explained: redis is away")


def _tell(
    name: str,
    queue: Queue,
    agents: Sequence[AgentView],
    explain: Callable[[str], Explanation | None],
    now: float,
) -> None:
    organization_id, _, user_id = name.partition(":")
    if user_id:
        found = {
            tier.value: newcomer(queue, agents, (tier, organization_id, user_id), now=now)
            for tier in TIERS
        }
        say(name, found)
        return
    whys = {}
    for job_id in _first_of_each(name):
        job, explanation = queue.get(job_id), explain(job_id)
        if job is not None and explanation is not None:
            whys[job_id] = why(queue, agents, job, explanation, now=now)
    say(name, whys)


def _first_of_each(workspace_id: str) -> list[str]:
    """The waiting jobs of a workspace to be explained: everybody's next ones before anybody's
    later ones, so that who comes after a thousand jobs of others is told, too.
    """
    waiting = Job.objects.filter(
        workspace_id=workspace_id, status=JobStatus.QUEUED.value, paused_at=None
    )
    rank = Window(
        RowNumber(),
        partition_by=F("created_by_id"),
        order_by=[by_urgency(), F("position"), F("submitted_at"), F("id")],
    )
    ranked = waiting.annotate(rank=rank).filter(rank__lte=JOBS_OF_A_PERSON).order_by("rank", "id")
    return list(ranked.values_list("pk", flat=True)[:JOBS_OF_A_WORKSPACE])


def why(
    queue: Queue,
    agents: Sequence[AgentView],
    job: WaitingJob,
    explanation: Explanation,
    *,
    now: float,
) -> Why:
    """The scheduler's explanation, with who is ahead by tier, and where and when it may start."""
    fitting = [a for a in agents if a.is_accepting and job.need.is_met_by(a)]
    loads = {agent.id: _load_seconds(queue, agent, job.model_digest) for agent in fitting}
    soonest = min(fitting, key=lambda a: (_busy_for(a, now) + loads[a.id], a.id), default=None)
    starts_in = None
    if soonest is not None:
        wait = _wait_seconds(fitting, explanation.jobs_ahead, explanation.seconds_ahead, now)
        starts_in = round(wait + loads[soonest.id], 1)
    return Why(
        code=explanation.reason.value,
        jobs_ahead=explanation.jobs_ahead,
        own_jobs_ahead=explanation.own_jobs_ahead,
        at=now,
        by_tier=_more_urgent(queue, job.tier, explanation.jobs_ahead - explanation.own_jobs_ahead),
        starts_in=starts_in,
        agent=soonest.id if soonest else None,
        load_seconds=round(loads[soonest.id], 1) if soonest else 0.0,
        data=dict(explanation.data),
    )


def newcomer(
    queue: Queue, agents: Sequence[AgentView], path: tuple[Tier, str, str], *, now: float
) -> Ahead:
    """What would be before the next job of a person at a tier: all they have waiting there, what
    fair shares give the others meanwhile, and what the other tiers have before it. The queue stays
    as it is.
    """
    own, seconds = 0, 0.0
    nodes: list[Node | None] = [queue.everything.root]
    for key in path:
        nodes.append(nodes[-1].children.get(key) if nodes[-1] else None)
    if nodes[3] is not None:
        own, seconds = nodes[3].jobs, nodes[3].seconds
    jobs = own
    for depth in (2, 1):
        parent = nodes[depth]
        if parent is None:
            continue
        turn = _virtual(parent, nodes[depth + 1]) + seconds / queue.policy.weight(
            depth, path[depth]
        )
        for key, sibling in parent.children.items():
            if key != path[depth]:
                before = _served_before(sibling, turn, queue.policy.weight(depth, key))
                jobs += before
                seconds += before * sibling.seconds / sibling.jobs
    for more_jobs, more_seconds in jobs_of_other_tiers(queue, path[0], seconds):
        jobs += more_jobs
        seconds += more_seconds
    accepting = [agent for agent in agents if agent.is_accepting]
    wait = _wait_seconds(accepting, jobs, seconds, now) if accepting else None
    is_free = jobs == 0 and any(_is_idle(agent) for agent in accepting)
    return Ahead(
        jobs_ahead=jobs,
        own_jobs_ahead=own,
        wait_seconds=None if wait is None else round(wait, 1),
        is_free=is_free,
    )


def _virtual(parent: Node, own: Node | None) -> float:
    """Who comes anew starts level with the one that is furthest behind."""
    if own is not None:
        return own.entry[0]
    return parent.order[0][0] if parent.order else 0.0


def _served_before(sibling: Node, turn: float, weight: float) -> int:
    """Jobs the sibling starts until its virtual time has reached `turn`; it wins a tie."""
    behind = (turn - sibling.entry[0]) * weight / (sibling.seconds / sibling.jobs)
    jobs = floor(behind) + 1 if behind >= 0 else ceil(behind)
    return min(sibling.jobs, max(0, jobs))


def _wait_seconds(
    agents: Sequence[AgentView], jobs_ahead: int, seconds_ahead: float, now: float
) -> float:
    """All that is before it, shared by all agents that could take it."""
    if jobs_ahead < sum(1 for agent in agents if _is_idle(agent)):
        return 0.0
    busy = [_busy_for(agent, now) for agent in agents]
    if jobs_ahead == 0:
        return min(busy)
    return (seconds_ahead + sum(busy)) / len(busy)


def _is_idle(agent: AgentView) -> bool:
    return agent.busy_until is None and agent.free_slots > 0


def _busy_for(agent: AgentView, now: float) -> float:
    return 0.0 if agent.busy_until is None else max(0.0, agent.busy_until - now)


def _load_seconds(queue: Queue, agent: AgentView, digest: str) -> float:
    if digest in agent.resident:
        return 0.0
    if digest in agent.cached:
        return queue.policy.cached_load_seconds(digest)
    return queue.policy.load_seconds(digest)


def _more_urgent(queue: Queue, own: Tier, others_ahead: int) -> Mapping[str, int]:
    """How many of the others ahead are of each tier above one's own, most urgent first."""
    found, left = {}, others_ahead
    for tier in _above(own):
        node = queue.everything.root.children.get(tier)
        count = min(left, node.jobs) if node is not None else 0
        if count > 0:
            found[tier.value] = count
            left -= count
    return found


def _above(tier: Tier) -> Iterable[Tier]:
    return TIERS[: TIERS.index(tier)]
