"""Asking again for what failed or was canceled."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from jobs.lifecycle import JobStatus
from jobs.models import Job
from jobs.recipes import exactly, open_recipe
from jobs.selectors import retry_key
from jobs.services.submission import Submitted, submit_job
from studio.core.errors import ConflictError
from workspaces.access import require_in

RETRYABLE = frozenset({JobStatus.FAILED.value, JobStatus.CANCELED.value})


def retry_job(*, job: Job, actor: Actor, idempotency_key: str | None = None) -> Submitted:
    """A new job with the same recipe, sealed anew, in the same project and at the same speed.

    Pressed twice, it finds the job that the first press made; if that has failed, too, it is that
    one which is asked for again.

    Raises:
        ConflictError: it waits, runs, or was made.
        InvalidInputError: its model or starting picture is gone.
    """
    require_in(actor, job.workspace, Permission.JOB_SUBMIT, noun="job")
    if job.status == JobStatus.SUCCEEDED.value:
        raise ConflictError(what="The job succeeded: run one of its pictures again instead.")
    if job.status not in RETRYABLE:
        raise ConflictError(what="The job is not over: it waits or is being made.")
    if idempotency_key is None:
        job = _last_of_its_retries(job, actor)
        if job.status not in RETRYABLE:
            return Submitted(job=job, is_new=False)
    project = job.project
    raw = exactly(open_recipe(job))
    return submit_job(
        actor=actor,
        workspace=job.workspace,
        raw=raw,
        tier=job.tier,
        project_id=project.pk if project is not None and project.archived_at is None else None,
        idempotency_key=idempotency_key or retry_key(job.pk),
        rerun_of=job.rerun_of,
        retry_of=job,
    )


def _last_of_its_retries(job: Job, actor: Actor) -> Job:
    mine = Job.objects.select_related("workspace", "project", "rerun_of")
    while job.status in RETRYABLE:
        following = mine.filter(
            created_by_id=actor.user_id, idempotency_key=retry_key(job.pk)
        ).first()
        if following is None:
            break
        job = following
    return job
