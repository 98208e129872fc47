"""Deleting a workspace, and bringing it back while that can still be done.

A deleted one is gone for everybody at once: access, sockets, share links and signed addresses all
ask whether it is deleted. What lies in it is destroyed later (`jobs.services.destruction`).
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from jobs.announcements import wake_dispatcher
from jobs.lifecycle import JOB_OPEN, JobStatus
from jobs.models import Job
from jobs.services.cancellation import stop_job
from studio.core.errors import ConflictError, InvalidInputError
from workspaces.access import require_in
from workspaces.announcements import announce_access
from workspaces.models import Workspace

UNDO = timedelta(days=7)


def delete_workspace(
    *, actor: Actor, workspace: Workspace, confirmation: str | None = None
) -> bool:
    """Delete it for everybody; False if somebody was quicker.

    `confirmation` is its name as a person has typed it; programs name the workspace by its id.

    Raises:
        InvalidInputError: the typed name is another one.
    """
    require_in(actor, workspace, Permission.WORKSPACE_DELETE)
    if confirmation is not None:
        _check(confirmation, workspace)
    now = timezone.now()
    with transaction.atomic():
        if not Workspace.objects.filter(pk=workspace.pk, deleted_at=None).update(
            deleted_at=now, destroy_at=now + UNDO
        ):
            return False
        open_jobs = _open_jobs(workspace).count()
        record_event(actor, "workspace.deleted", workspace.pk, {"open_jobs": open_jobs})
        announce_access(workspace.pk)
    workspace.refresh_from_db(fields=["deleted_at", "destroy_at"])
    # After the commit: from now on nobody can ask for another.
    stop_jobs(workspace)
    return True


@transaction.atomic
def restore_workspace(*, actor: Actor, workspace: Workspace) -> bool:
    """Bring it back with all that lies in it; False if it was not deleted.

    Raises:
        ConflictError: its time is over, its key is or will be destroyed.
    """
    actor.require(Permission.WORKSPACE_DELETE)
    # The sweep takes the same lock before it destroys the key: one of the two comes first.
    locked = Workspace.objects.select_for_update(of=("self",)).get(pk=workspace.pk)
    if locked.deleted_at is None:
        return False
    if not locked.wrapped_key or locked.destroy_at is None or locked.destroy_at <= timezone.now():
        raise ConflictError(
            what="The seven days are over: the key of this workspace is destroyed, "
            "and nothing of it can be brought back."
        )
    Workspace.objects.filter(pk=workspace.pk).update(deleted_at=None, destroy_at=None)
    workspace.deleted_at = workspace.destroy_at = None
    record_event(actor, "workspace.restored", workspace.pk)
    return True


def stop_jobs(workspace: Workspace) -> int:
    """Cancel what is queued and running in it; how many jobs. Again is fine.

    However many wait, they go in one statement; nobody is left to be told of each.
    """
    now = timezone.now()
    with transaction.atomic():
        stopped = Job.objects.filter(workspace=workspace, status=JobStatus.QUEUED.value).update(
            status=JobStatus.CANCELED.value, cancel_requested_at=now, ended_at=now
        )
        wake_dispatcher()
    for job in list(_open_jobs(workspace).filter(cancel_requested_at=None)):
        with transaction.atomic():
            stopped += stop_job(job) is not None
    return stopped


def stop_jobs_of_deleted() -> int:
    """The same for every deleted workspace: what was submitted in the very moment of deleting."""
    statuses = [status.value for status in JOB_OPEN]
    left = Workspace.objects.filter(
        deleted_at__isnull=False, jobs__status__in=statuses, jobs__cancel_requested_at=None
    )
    return sum(stop_jobs(workspace) for workspace in left.distinct())


def _open_jobs(workspace: Workspace) -> QuerySet[Job]:
    statuses = [status.value for status in JOB_OPEN]
    return Job.objects.filter(workspace=workspace, status__in=statuses)


def _check(confirmation: str, workspace: Workspace) -> None:
    if confirmation.strip() == workspace.name:
        return
    message = f"Type the name of the workspace, {workspace.name}, to delete it."
    raise InvalidInputError(
        [FieldProblem(field="confirmation", code="name", message=message, value=confirmation)]
    )
