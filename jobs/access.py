"""The only way to a job or an output; what comes back is proof of access."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from jobs.models import Job, Output
from studio.core.errors import NotFoundError
from workspaces.access import require_in
from workspaces.models import Workspace

_JOB_RELATED = ("workspace", "model_version__asset", "created_by")
_OUTPUT_RELATED = (
    "workspace",
    "picture__workspace",
    "thumbnail",
    "project",
    "job__created_by",
    "job__model_version",
    "attempt__agent",
)


def get_job(
    actor: Actor, job_id: str, *, permission: Permission, workspace: Workspace | None = None
) -> Job:
    """A job that the actor can reach, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not do this in its workspace.
    """
    jobs = Job.objects.select_related(*_JOB_RELATED).filter(
        pk=job_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        jobs = jobs.filter(workspace=workspace)
    job = jobs.first()
    if job is None:
        raise NotFoundError(noun="job")
    require_in(actor, job.workspace, permission, noun="job")
    return job


def get_output(
    actor: Actor, output_id: str, *, permission: Permission, workspace: Workspace | None = None
) -> Output:
    """An output that the actor can reach, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not do this in its workspace.
    """
    outputs = Output.objects.select_related(*_OUTPUT_RELATED).filter(
        pk=output_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        outputs = outputs.filter(workspace=workspace)
    output = outputs.first()
    if output is None:
        raise NotFoundError(noun="picture")
    require_in(actor, output.workspace, permission, noun="picture")
    return output
