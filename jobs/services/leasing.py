"""Leases: giving an attempt to an agent, keeping it, taking it back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import HeldAttempt
from jobs.lifecycle import ATTEMPT_OPEN, AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt
from jobs.scheduling import Placement
from jobs.services.transitions import end_attempt, move_job
from studio.core.queue import AGENT_QUEUE, send_on_commit
from workspaces.models import Workspace
from workspaces.services.keys import new_data_key

ACTOR = "run_attempt"
OPEN = tuple(status.value for status in ATTEMPT_OPEN)


def lease_duration() -> timedelta:
    """How long an attempt may go without a sign of life."""
    return timedelta(seconds=settings.LEASE_SECONDS)


@transaction.atomic
def lease_attempt(placement: Placement, *, boot_id: str) -> JobAttempt | None:
    """Give the job's next attempt to the agent; None if the job does not wait any more."""
    # Locked: whoever pauses it at this moment comes before or after, never between.
    waiting = Job.objects.select_for_update().filter(pk=placement.job_id, paused_at=None)
    job = waiting.first()
    if job is None or not move_job(job, JobStatus.RUNNING, fence=F("fence") + 1):
        return None
    job.refresh_from_db(fields=["fence"])
    now = timezone.now()
    _plain, wrapped = new_data_key(Workspace.objects.get(pk=job.workspace_id))
    attempt = JobAttempt.objects.create(
        organization_id=job.organization_id,
        job=job,
        agent_id=placement.agent_id,
        fence=job.fence,
        boot_id=boot_id,
        wrapped_preview_key=wrapped,
        charged_seconds=placement.charged_seconds,
        placement={**asdict(placement.charge), "swap_seconds": placement.swap_seconds},
        leased_at=now,
        sent_at=now,
        lease_expires_at=now + lease_duration(),
    )
    send_run(attempt)
    return attempt


def send_run(attempt: JobAttempt) -> None:
    """Put `(attempt, fence)` on the agent's own queue: ids only, and safe to send twice."""
    send_on_commit(
        ACTOR,
        attempt.pk,
        attempt.fence,
        namespace=f"agent:{attempt.agent_id}",
        queue_name=AGENT_QUEUE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a heartbeat brought: attempts the agent no longer holds, and ones it should stop."""

    lost: tuple[str, ...]
    cancel: tuple[str, ...]


def renew_leases(agent: Agent, held: tuple[HeldAttempt, ...]) -> Renewal:
    """Extend the leases of the attempts an agent says it holds, where it still does."""
    until = timezone.now() + lease_duration()
    lost, cancel = [], []
    for item in held:
        mine = JobAttempt.objects.filter(
            pk=item.attempt_id, fence=item.fence, agent=agent, status__in=OPEN
        )
        if not mine.update(lease_expires_at=until):
            lost.append(item.attempt_id)
        elif mine.filter(job__cancel_requested_at__isnull=False).exists():
            cancel.append(item.attempt_id)
    return Renewal(lost=tuple(lost), cancel=tuple(cancel))


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
    return end_attempt(attempt, AttemptStatus.EXPIRED, failure=FailureCode.AGENT_LOST)


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
