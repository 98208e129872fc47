"""The rows of jobs, agents and attempts as the scheduler's plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count, Max
from django.utils import timezone

from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, JobAttempt, Output
from jobs.scheduling import AgentView, Charge, Tier, WaitingJob
from jobs.scheduling.choosing import Member
from jobs.scheduling.policy import TIERS
from jobs.services.leasing import OPEN, RIDES_WITH, YIELDING

READ_AT_ONCE = 2_000
HOST = "host"  # where an agent says that it keeps models from which they load quickly
# In the order of `_Row`.
_COLUMNS = (
    "pk",
    "organization_id",
    "created_by_id",
    "tier",
    "model_version__digest",
    "cost_seconds",
    "memory_bytes",
    "submitted_at",
    "position",
    "count",
    "fence",
    "status",
    "paused_at",
    "batch_key",
)


class _Row(NamedTuple):
    id: str
    organization_id: str
    user_id: str
    tier: str
    model_digest: str
    cost_seconds: float
    memory_bytes: int
    submitted_at: datetime
    position: int
    pictures: int
    fence: int
    status: str
    paused_at: datetime | None
    batch_key: str

    @property
    def waits(self) -> bool:
        return self.status == JobStatus.QUEUED.value and self.paused_at is None


def positions() -> dict[str, int]:
    """Every job that may be given to an agent, with its place in its owner's line."""
    waiting = Job.objects.filter(status=JobStatus.QUEUED.value, paused_at=None)
    return dict(waiting.order_by().values_list("pk", "position"))


def read_waiting(job_ids: Collection[str]) -> list[WaitingJob]:
    """Those of the jobs that wait, with what the scheduler must know, some hundreds at a time."""
    ids, found = list(job_ids), list[WaitingJob]()
    for start in range(0, len(ids), READ_AT_ONCE):
        # By key alone: right after many rows came, Postgres would rather read every waiting one.
        some = Job.objects.filter(pk__in=ids[start : start + READ_AT_ONCE]).order_by()
        rows = [row for columns in some.values_list(*_COLUMNS) if (row := _Row(*columns)).waits]
        made = _pictures_made([row.id for row in rows if row.pictures > 1 and row.fence > 0])
        found.extend(_waiting(row, made.get(row.id, 0)) for row in rows)
    return found


def _pictures_made(job_ids: Sequence[str]) -> dict[str, int]:
    """Of jobs that were tried before: what is kept need not be made again."""
    if not job_ids:
        return {}
    made = Output.objects.filter(job__in=job_ids).values_list("job_id")
    return dict(made.annotate(pictures=Count("pk")).order_by())


def _waiting(row: _Row, made: int) -> WaitingJob:
    left = max(1, row.pictures - made)
    return WaitingJob(
        id=row.id,
        organization_id=row.organization_id,
        user_id=row.user_id,
        tier=Tier(row.tier),
        model_digest=row.model_digest,
        cost_seconds=row.cost_seconds * left / max(1, row.pictures),
        memory_bytes=row.memory_bytes,
        submitted_at=row.submitted_at.timestamp(),
        position=row.position,
        pictures=left,
        batch_key=row.batch_key,
    )


@dataclass(slots=True)
class InFlight:
    """What agents hold: batches by agent (most are of one job), attempts by organization and
    member, and until when each agent is busy.

    `boundaries` are of agents that run one job of several pictures and nothing else.
    """

    batches: dict[str, set[str]] = field(default_factory=dict)
    organizations: Counter[str] = field(default_factory=Counter)
    members: Counter[Member] = field(default_factory=Counter)
    busy_until: dict[str, float] = field(default_factory=dict)
    running: dict[str, Tier] = field(default_factory=dict)
    yielding: set[str] = field(default_factory=set)
    boundaries: dict[str, float] = field(default_factory=dict)


class _Held(NamedTuple):
    """An open attempt and what is to be known of its job."""

    id: str
    agent_id: str
    organization_id: str
    user_id: str
    charged_seconds: float
    leased_at: datetime
    started_at: datetime | None
    placement: Mapping[str, object]
    job_id: str
    tier: str
    pictures: int
    cost_seconds: float


_HELD_COLUMNS = (
    "pk",
    "agent_id",
    "organization_id",
    "job__created_by_id",
    "charged_seconds",
    "leased_at",
    "started_at",
    "placement",
    "job_id",
    "job__tier",
    "job__count",
    "job__cost_seconds",
)


def read_in_flight() -> InFlight:
    """The attempts that are leased or run."""
    found, only = InFlight(), dict[str, _Held | None]()
    attempts = JobAttempt.objects.filter(status__in=OPEN).order_by("leased_at")
    for held in (_Held(*columns) for columns in attempts.values_list(*_HELD_COLUMNS)):
        agent_id, tier = held.agent_id, Tier(held.tier)
        batch = str(held.placement.get(RIDES_WITH) or held.job_id)
        found.batches.setdefault(agent_id, set()).add(batch)
        found.organizations[held.organization_id] += 1
        found.members[held.organization_id, held.user_id] += 1
        begins = max(found.busy_until.get(agent_id, 0.0), held.leased_at.timestamp())
        found.busy_until[agent_id] = begins + held.charged_seconds
        found.running[agent_id] = min(tier, found.running.get(agent_id, tier), key=TIERS.index)
        if held.placement.get(YIELDING):
            found.yielding.add(agent_id)
        only[agent_id] = None if agent_id in only else held
    _find_boundaries(found, [held for held in only.values() if held and held.pictures > 1])
    return found


def _find_boundaries(found: InFlight, long: Sequence[_Held]) -> None:
    """When the picture in hand is done, if another follows: from the pictures that are stored.

    A job that takes longer than estimated is not done soon: its agent is busy for all that is left.
    """
    if not long:
        return
    outputs = Output.objects.filter(job__in=[held.job_id for held in long]).order_by()
    made = {row[0]: row[1] for row in outputs.values_list("job_id").annotate(made=Count("pk"))}
    here = {
        attempt_id: (pictures, last)
        for attempt_id, pictures, last in outputs.filter(attempt__in=[held.id for held in long])
        .values_list("attempt_id")
        .annotate(pictures=Count("pk"), last=Max("created_at"))
    }
    now = timezone.now().timestamp()
    for held in long:
        left = held.pictures - made.get(held.job_id, 0)
        begun = _begun(held)
        each = held.cost_seconds / held.pictures
        if held.id in here:
            pictures, last = here[held.id]
            each = max(0.0, (last.timestamp() - begun) / pictures)
            begun = last.timestamp()
        if left > 1:
            at = max(now, begun + each)
            found.boundaries[held.agent_id] = at
            until = at + each * (left - 1)
            found.busy_until[held.agent_id] = max(found.busy_until[held.agent_id], until)


def _begun(held: _Held) -> float:
    """When its first picture was begun, or will be once the model is loaded."""
    if held.started_at is not None:
        return held.started_at.timestamp()
    swap = held.placement.get("swap_seconds", 0.0)
    loading = timedelta(seconds=swap if isinstance(swap, int | float) else 0.0)
    return (held.leased_at + loading).timestamp()


def views(agents: Iterable[Agent], in_flight: InFlight) -> list[AgentView]:
    """The agents as the scheduler sees them."""
    found = []
    for agent in agents:
        resident, boundary = frozenset(agent.warm), in_flight.boundaries.get(agent.pk)
        in_host = {item["digest"] for item in agent.residents if item.get("place") == HOST}
        view = AgentView(
            id=agent.pk,
            free_slots=max(0, settings.AGENT_SLOTS - len(in_flight.batches.get(agent.pk, ()))),
            memory_bytes=agent.memory_bytes,
            resident=resident,
            cached=frozenset(in_host - resident),
            busy_until=in_flight.busy_until.get(agent.pk),
            is_accepting=agent.is_accepting,
            labels=frozenset(agent.labels),
            running=in_flight.running.get(agent.pk),
            yields_at=boundary,
            is_yielding=agent.pk in in_flight.yielding,
            batch_limit=int(agent.telemetry.get("batch_limit", 1)),
        )
        found.append(view)
    return found


def charge_of(kept: Mapping[str, object]) -> Charge | None:
    """The charge that was kept with an attempt; None if it is not what it should be."""
    try:
        return Charge(
            tier=Tier(str(kept["tier"])),
            organization_id=str(kept["organization_id"]),
            user_id=str(kept["user_id"]),
            seconds=float(str(kept["seconds"])),
            counted_seconds=float(str(kept.get("counted_seconds", 0.0))),
            pool=str(kept.get("pool", "")),
        )
    except (KeyError, ValueError):
        return None
