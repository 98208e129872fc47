"""Leases: giving an attempt to an agent, keeping it, taking it back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import HeldAttempt
from jobs.announcements import announce_started, announce_yield
from jobs.lifecycle import ATTEMPT_OPEN, JOB_OPEN, MAX_ATTEMPTS, AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt
from jobs.scheduling import Placement
from jobs.services.transitions import COUNTED, end_attempt
from studio.core.queue import AGENT_QUEUE, Message, send_all_on_commit
from workspaces.services.keys import new_data_key

ACTOR = "run_attempt"
OPEN = tuple(status.value for status in ATTEMPT_OPEN)
YIELDING = "yielding"
"""In an attempt's `placement`: its agent was asked to hand back the rest."""
RIDES_WITH = "rides_with"
"""In an attempt's `placement`: the job that it was given to be made in one batch with."""


def lease_duration() -> timedelta:
    """How long an attempt may go without a sign of life."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def lease_attempt(placement: Placement, *, boot_id: str) -> JobAttempt | None:
    """Give the job's next attempt to the agent; None if the job does not wait any more."""
    attempts = lease_attempts([placement], boot_ids={placement.agent_id: boot_id})
    return attempts[0] if attempts else None


@transaction.atomic
def lease_attempts(
    placements: Sequence[Placement], *, boot_ids: Mapping[str, str]
) -> list[JobAttempt]:
    """Give each job's next attempt to its agent, all or none in one transaction.

    Jobs that do not wait any more are left out: canceled or paused since they were placed.
    """
    wanted = {placement.job_id: placement for placement in placements}
    # Locked: whoever cancels or pauses one at this moment comes before or after, never between.
    # Found by key alone: Postgres might otherwise look through every job that waits.
    rows = Job.objects.select_for_update(of=("self",)).filter(pk__in=wanted).order_by("pk")
    jobs = [
        job
        for job in rows.select_related("workspace").defer("sealed_recipe")
        if job.status == JobStatus.QUEUED.value and job.paused_at is None
    ]
    if not jobs:
        return []
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(
        status=JobStatus.RUNNING.value, fence=F("fence") + 1
    )
    for job in jobs:
        job.fence += 1
    now = timezone.now()
    attempts = JobAttempt.objects.bulk_create(
        _attempt(job, wanted[job.pk], boot_ids[wanted[job.pk].agent_id], now) for job in jobs
    )
    announce_started(jobs)
    send_all_on_commit([_run_message(attempt) for attempt in attempts])
    return attempts


def _attempt(job: Job, placement: Placement, boot_id: str, now: datetime) -> JobAttempt:
    _plain, wrapped = new_data_key(job.workspace)
    kept: dict[str, object] = asdict(placement.charge)
    kept["swap_seconds"] = placement.swap_seconds
    if placement.rides_with:
        kept[RIDES_WITH] = placement.rides_with
    return JobAttempt(
        organization_id=job.organization_id,
        job=job,
        agent_id=placement.agent_id,
        fence=job.fence,
        boot_id=boot_id,
        wrapped_preview_key=wrapped,
        charged_seconds=placement.busy_seconds,
        placement=kept,
        leased_at=now,
        sent_at=now,
        lease_expires_at=now + lease_duration(),
    )


def send_run(attempt: JobAttempt) -> None:
    """Put `(attempt, fence)` on the agent's own queue: ids only, and safe to send twice."""
    send_all_on_commit([_run_message(attempt)])


def _run_message(attempt: JobAttempt) -> Message:
    return Message(
        actor_name=ACTOR,
        args=(attempt.pk, attempt.fence),
        namespace=f"agent:{attempt.agent_id}",
        queue_name=AGENT_QUEUE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a heartbeat brought: attempts the agent no longer holds, ones it should stop, and ones
    whose rest it should hand back after the picture in hand.
    """

    lost: tuple[str, ...]
    cancel: tuple[str, ...]
    yields: tuple[str, ...] = ()


def renew_leases(agent: Agent, held: tuple[HeldAttempt, ...]) -> Renewal:
    """Extend the leases of the attempts an agent says it holds, where it still does."""
    until = timezone.now() + lease_duration()
    lost, cancel, yields = [], [], []
    for item in held:
        mine = JobAttempt.objects.filter(
            pk=item.attempt_id, fence=item.fence, agent=agent, status__in=OPEN
        )
        if not mine.update(lease_expires_at=until):
            lost.append(item.attempt_id)
            _forgive(agent, item)
        elif mine.filter(job__cancel_requested_at__isnull=False).exists():
            cancel.append(item.attempt_id)
        elif mine.filter(**{f"placement__{YIELDING}": True}).exists():
            yields.append(item.attempt_id)
    return Renewal(lost=tuple(lost), cancel=tuple(cancel), yields=tuple(yields))


def ask_to_yield(agent_ids: Collection[str]) -> int:
    """Ask these agents to hand back the rest of what they run; how many attempts that were.

    The job goes back to the queue with what was made, and it uses up no try.
    """
    if not agent_ids:
        return 0
    running = JobAttempt.objects.select_related("agent").filter(
        agent__in=agent_ids, status__in=OPEN, job__count__gt=1
    )
    attempts = [attempt for attempt in running if not attempt.placement.get(YIELDING)]
    for attempt in attempts:
        with transaction.atomic():
            placement = {**attempt.placement, YIELDING: True}
            JobAttempt.objects.filter(pk=attempt.pk).update(placement=placement)
            announce_yield(attempt.agent, attempt.pk)
    return len(attempts)


def expire_overdue() -> int:
    """Take back the attempts whose lease has run out; how many."""
    overdue = JobAttempt.objects.filter(
        status__in=OPEN, lease_expires_at__lt=timezone.now()
    ).values_list("pk", flat=True)
    return sum(_expire(pk, only_overdue=True) for pk in list(overdue[:500]))


def expire_earlier_boots(agent: Agent) -> int:
    """The agent's process is new: what its earlier life held is over, no need to wait."""
    stale = JobAttempt.objects.filter(agent=agent, status__in=OPEN).exclude(boot_id=agent.boot_id)
    return sum(_expire(pk, only_overdue=False) for pk in list(stale.values_list("pk", flat=True)))


@transaction.atomic
def _expire(attempt_id: str, *, only_overdue: bool) -> bool:
    attempt = JobAttempt.objects.select_for_update().get(pk=attempt_id)
    if only_overdue and attempt.lease_expires_at >= timezone.now():
        return False  # a heartbeat came in between
    return end_attempt(
        attempt,
        AttemptStatus.EXPIRED,
        failure=FailureCode.AGENT_LOST,
        is_blameless=attempt.claimed_at is None or _waited_behind_another(attempt),
    )


def _waited_behind_another(attempt: JobAttempt) -> bool:
    """Whether the agent fell silent while it computed something else, and this had not begun."""
    if attempt.started_at is not None:
        return False
    others = JobAttempt.objects.filter(
        agent_id=attempt.agent_id, boot_id=attempt.boot_id, started_at__isnull=False
    )
    fell_silent = Q(status=AttemptStatus.EXPIRED.value, ended_at__gt=attempt.leased_at)
    return others.filter(Q(status__in=OPEN) | fell_silent).exclude(pk=attempt.pk).exists()


@transaction.atomic
def _forgive(agent: Agent, item: HeldAttempt) -> None:
    """The process speaks again, so the job did not kill it: the lost attempt uses up no try.

    A few times only, or a job that stops its agent for a while would be tried for ever.
    """
    attempt = JobAttempt.objects.filter(
        pk=item.attempt_id,
        fence=item.fence,
        agent=agent,
        boot_id=agent.boot_id,
        status=AttemptStatus.EXPIRED.value,
        error_data__counted=True,
    ).first()
    if attempt is None:
        return
    job = Job.objects.select_for_update().get(pk=attempt.job_id)
    forgiven = JobAttempt.objects.filter(job=job, error_data__counted=False).count()
    if forgiven >= MAX_ATTEMPTS or job.status not in {s.value for s in JOB_OPEN}:
        return
    is_ours = JobAttempt.objects.filter(pk=attempt.pk, error_data__counted=True)
    if is_ours.update(error_data={**attempt.error_data, COUNTED: False}):
        Job.objects.filter(pk=job.pk).update(attempts_counted=F("attempts_counted") - 1)


def hasten_leases(agent: Agent) -> int:
    """The agent's socket broke: unless it is heard of soon, what it holds goes to others early.

    Half a lease is longer than the pause between two heartbeats of an agent that lives.
    """
    soon = timezone.now() + lease_duration() / 2
    return JobAttempt.objects.filter(
        agent=agent, status__in=OPEN, lease_expires_at__gt=soon
    ).update(lease_expires_at=soon)


def resend_unclaimed() -> int:
    """Send again what no agent has claimed for a while: the broker may have been emptied."""
    before = timezone.now() - timedelta(seconds=settings.UNCLAIMED_RESEND_SECONDS)
    waiting = JobAttempt.objects.filter(
        status=AttemptStatus.LEASED.value, claimed_at=None, sent_at__lt=before
    )
    attempts = list(waiting[:500])
    for attempt in attempts:
        with transaction.atomic():
            JobAttempt.objects.filter(pk=attempt.pk).update(sent_at=timezone.now())
            send_run(attempt)
    return len(attempts)
