"""The fleet as it is now, from rows: for the page, the API and the metrics. Numbers only.

Spans organizations, so it opens the system scope itself; nothing in the answer says whose a job
is, or what it is about.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Sum
from django.utils import timezone

from jobs.fleet_runs import WaitStats, hit_rates, wait_stats
from jobs.fleet_waits import ClassLoad, Demand, Machine, loads
from jobs.lifecycle import ATTEMPT_OPEN, AgentState, AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt
from jobs.scheduling import Tier
from jobs.services.fleet_policy import load_policy
from library.models import ModelVersion
from studio.core.scoping import system_scope

_OPEN = [status.value for status in ATTEMPT_OPEN]
_ORDER = ("running", "loading", "staged")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job that an agent holds, by its kind."""

    tier: str
    status: str
    kind: str
    width: int
    height: int
    count: int
    model: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLine:
    """An agent, what it holds and how it does; `condition` is one of `CONDITIONS`."""

    agent: Agent
    condition: str
    work: list[Work]
    warm: list[str]
    """Names of models; of one that is an organization's own, the beginning of its digest."""
    hits: dict[str, float] = field(default_factory=dict)
    """Of its runs of the last hour, which part found the model where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLine:
    """What waits and runs in a tier, and how long jobs of it have waited."""

    tier: Tier
    queued: int
    queued_seconds: float
    running: int
    predicted_seconds: float
    """The wait of a job that comes now, on the kind of GPU for which most of the tier waits."""
    hour: WaitStats | None
    day: WaitStats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """Everything of the page, at one moment."""

    at: datetime
    agents: list[AgentLine]
    tiers: list[TierLine]
    classes: list[ClassLoad]


# In the order in which somebody who looks after them wants to hear of them.
CONDITIONS = (
    "sick",
    "lost",
    "working",
    "idle",
    "loading",
    "leaving",
    "draining",
    "drained",
    "maintenance",
    "stopped",
    "new",
)


def condition_of(agent: Agent, *, works: bool, now: datetime) -> str:
    """One word for an agent's state: what matters most comes first."""
    if agent.last_seen_at is None:
        return "new" if agent.registered_at is None else "stopped"
    if agent.last_seen_at <= now - timedelta(seconds=settings.LEASE_SECONDS):
        return "stopped" if agent.is_draining else "lost"
    if agent.sick_code:
        return "sick"
    if agent.state == AgentState.MAINTENANCE.value:
        return "maintenance"
    if agent.state == AgentState.DRAINING.value:
        return "draining" if works else "drained"
    if agent.is_draining:
        return "leaving"
    if works:
        return "working"
    return "idle" if agent.is_ready else "loading"


def read_fleet(*, with_runs: bool = True) -> FleetState:
    """The whole fleet; without runs it says nothing of what was, and asks less."""
    now = timezone.now()
    with system_scope():
        agents = list(Agent.objects.filter(removed_at=None).order_by("name"))
        attempts = _open_attempts()
        demands = _demands()
        names = _model_names({digest for agent in agents for digest in agent.warm})
        machines = [_machine(a, attempts[a.pk], now) for a in agents if _takes_work(a, now)]
        found = loads(machines, demands, load_policy())
        hits = hit_rates(since=now - HOUR) if with_runs else {}
        hour = wait_stats(since=now - HOUR) if with_runs else {}
        day = wait_stats(since=now - DAY) if with_runs else {}
    lines = [
        AgentLine(
            agent=agent,
            condition=condition_of(agent, works=bool(attempts[agent.pk]), now=now),
            work=sorted(map(_work, attempts[agent.pk]), key=lambda work: _ORDER.index(work.status)),
            warm=sorted(names.get(digest) or _nameless(digest) for digest in agent.warm),
            hits=hits.get(agent.pk, {}),
        )
        for agent in agents
    ]
    running = [work.tier for line in lines for work in line.work]
    tiers = [_tier(tier, demands, running, found, hour.get(tier), day.get(tier)) for tier in Tier]
    return FleetState(at=now, agents=lines, tiers=tiers, classes=found)


def _tier(
    tier: Tier,
    demands: list[Demand],
    running: list[str],
    classes: list[ClassLoad],
    hour: WaitStats | None,
    day: WaitStats | None,
) -> TierLine:
    mine = [demand for demand in demands if demand.tier is tier]
    behind = [each.waits[tier] for each in classes if each.seconds.get(tier)]
    free = min((each.waits[tier] for each in classes), default=0.0)
    return TierLine(
        tier=tier,
        queued=sum(demand.jobs for demand in mine),
        queued_seconds=sum(demand.seconds for demand in mine),
        running=running.count(tier.value),
        predicted_seconds=max(behind, default=free),
        hour=hour,
        day=day,
    )


def _demands() -> list[Demand]:
    """What waits, in groups; jobs that their owner has paused do not."""
    waiting = Job.objects.filter(status=JobStatus.QUEUED.value, paused_at=None)
    groups = waiting.values_list("tier", "memory_bytes").annotate(
        jobs=Count("pk"), seconds=Sum("cost_seconds")
    )
    return [
        Demand(tier=Tier(tier), memory_bytes=memory, jobs=jobs, seconds=float(seconds or 0.0))
        for tier, memory, jobs, seconds in groups.order_by()
    ]


def _open_attempts() -> defaultdict[str, list[JobAttempt]]:
    found: defaultdict[str, list[JobAttempt]] = defaultdict(list)
    attempts = JobAttempt.objects.filter(status__in=_OPEN).select_related(
        "job__model_version__asset"
    )
    lean = attempts.defer("job__sealed_recipe", "wrapped_preview_key")
    for attempt in lean.prefetch_related("job__inputs").order_by("pk"):
        found[attempt.agent_id].append(attempt)
    return found


def _takes_work(agent: Agent, now: datetime) -> bool:
    limit = now - timedelta(seconds=settings.LEASE_SECONDS)
    return agent.is_accepting and agent.last_seen_at is not None and agent.last_seen_at > limit


def _machine(agent: Agent, held: list[JobAttempt], now: datetime) -> Machine:
    left = 0.0
    for attempt in held:
        gone = (now - (attempt.started_at or now)).total_seconds()
        left += max(0.0, attempt.charged_seconds - gone)
    return Machine(
        gpu_class=agent.gpu_class or "unknown",
        memory_bytes=agent.memory_bytes,
        free_in_seconds=left,
    )


def _work(attempt: JobAttempt) -> Work:
    job = attempt.job
    is_claimed = attempt.claimed_at is not None
    running = attempt.status == AttemptStatus.RUNNING.value
    asset = job.model_version.asset
    return Work(
        tier=job.tier,
        status="running" if running else "loading" if is_claimed else "staged",
        kind="picture_to_picture" if job.inputs.all() else "text_to_picture",
        width=job.width,
        height=job.height,
        count=job.count,
        model=asset.name if asset.organization_id is None else _nameless(job.model_version.digest),
        since=attempt.started_at or attempt.claimed_at or attempt.leased_at,
    )


def _model_names(digests: set[str]) -> dict[str, str]:
    """Names of public models; what an organization calls its own is not told to operators."""
    public = ModelVersion.objects.filter(digest__in=digests, asset__organization=None)
    return dict(public.values_list("digest", "asset__name"))


def _nameless(digest: str) -> str:
    return f"private {digest[:8]}"
