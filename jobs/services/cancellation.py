"""Canceling."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from jobs.announcements import announce_cancel, announce_job
from jobs.lifecycle import ATTEMPT_OPEN, JobStatus
from jobs.models import Job, JobAttempt
from jobs.services.transitions import move_job
from workspaces.access import require_in


@transaction.atomic
def cancel_job(*, job: Job, actor: Actor) -> bool:
    """Cancel a queued job now, or ask the agent to stop a running one.

    Returns False if the job had already ended: that is not an error, the user was just slower.
    """
    require_in(actor, job.workspace, Permission.JOB_CANCEL)
    done = stop_job(job)
    if done is None:
        return Job.objects.filter(pk=job.pk, status=JobStatus.RUNNING.value).exists()
    is_over = done is JobStatus.CANCELED
    where = {"workspace": job.workspace_id}
    record_event(actor, "job.canceled" if is_over else "job.cancel_requested", job.pk, where)
    return True


def stop_job(job: Job) -> JobStatus | None:
    """Cancel it, or ask its agent to stop; how it stands then, None if there was nothing to do.

    Nobody's permission is checked and nothing is audited: that is for the caller.
    """
    now = timezone.now()
    # Locked, so that an attempt that ends meanwhile cannot carry the job past the cancel.
    Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if Job.objects.filter(pk=job.pk, status=JobStatus.QUEUED.value).update(
        cancel_requested_at=now
    ) and move_job(job, JobStatus.CANCELED):
        return JobStatus.CANCELED
    asked = Job.objects.filter(
        pk=job.pk, status=JobStatus.RUNNING.value, cancel_requested_at=None
    ).update(cancel_requested_at=now)
    if not asked:
        return None
    open_statuses = [status.value for status in ATTEMPT_OPEN]
    attempts = JobAttempt.objects.select_related("agent").filter(job=job, status__in=open_statuses)
    for attempt in attempts:
        announce_cancel(attempt.agent, attempt.pk)
    announce_job(job, JobStatus.RUNNING)
    return JobStatus.RUNNING
