"""The history of the fleet: what happened to which agent, when, by whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone

from jobs.fleet_codes import FleetCode
from jobs.lifecycle import ATTEMPT_OPEN, AgentState
from jobs.models import Agent, FleetEvent, JobAttempt

_OPEN = [status.value for status in ATTEMPT_OPEN]


def note(
    agent: Agent,
    code: FleetCode,
    data: Mapping[str, object] | None = None,
    *,
    by: str | None = None,
) -> None:
    """Append one event; `data` are codes, numbers and labels. `by` is a user's id."""
    FleetEvent.objects.create(agent=agent, code=code.value, data=dict(data or {}), by_id=by)


def watch_fleet() -> int:
    """Note which agents have fallen silent or have finished draining; how many that were.

    The dispatcher calls this about once a second; what was noted is not noted again.
    """
    silent = list(_silent())
    for agent in silent:
        note(agent, FleetCode.STOPPED if agent.is_draining else FleetCode.LOST)
    drained = list(_drained())
    for agent in drained:
        note(agent, FleetCode.DRAINED)
    return len(silent) + len(drained)


def _silent() -> list[Agent]:
    """Agents that were heard of once, not lately, and of whose silence nothing is noted yet."""
    limit = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    noted = FleetEvent.objects.filter(
        agent=OuterRef("pk"),
        code__in=[FleetCode.LOST.value, FleetCode.STOPPED.value],
        at__gt=OuterRef("last_seen_at"),
    )
    agents = Agent.objects.filter(last_seen_at__lte=limit, removed_at=None)
    return list(agents.exclude(Exists(noted)))


def _drained() -> list[Agent]:
    """Agents told to drain that hold nothing more, since the last time they were told."""
    events = FleetEvent.objects.filter(agent=OuterRef("pk"))
    told = events.filter(code=FleetCode.DRAINING.value).order_by("-at").values("at")[:1]
    draining = Agent.objects.filter(
        state=AgentState.DRAINING.value, removed_at=None, last_seen_at__isnull=False
    ).annotate(told_at=Subquery(told))
    held = JobAttempt.objects.filter(agent=OuterRef("pk"), status__in=_OPEN)
    done = FleetEvent.objects.filter(
        Q(agent=OuterRef("pk"), code=FleetCode.DRAINED.value, at__gte=OuterRef("told_at"))
    )
    return list(draining.filter(~Exists(held), ~Exists(done), told_at__isnull=False))


def newest_events(count: int, *, before: str = "") -> list[FleetEvent]:
    """What happened, newest first; `before` is the id of the last one seen."""
    events = FleetEvent.objects.select_related("agent")
    if before:
        events = events.filter(pk__lt=before)
    return list(events.order_by("-pk")[:count])
