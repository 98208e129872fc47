"""Taking the background away: a job for a picture that was made here."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from jobs.models import Output
from jobs.recipes import open_recipe
from jobs.services.submission import Submitted, submit_job
from workspaces.access import require_in
from workspaces.services.uploads import add_upload_of


def cut_output(
    *,
    output: Output,
    actor: Actor,
    edge: object = None,
    result: object = None,
    model: object = None,
    idempotency_key: str | None = None,
    tier: object = None,
) -> Submitted:
    """Take the background of a picture away: a new job, in the picture's project.

    Raises:
        InvalidInputError: a soft edge or a result that there is not, or no background remover.
        ForbiddenError: the role may not submit or not upload.
    """
    require_in(actor, output.workspace, Permission.JOB_SUBMIT)
    upload = add_upload_of(actor=actor, picture=output.picture)
    project = output.project
    raw = {
        "cutout": True,
        "cutout_edge": edge,
        "cutout_result": result,
        "image": upload.picture.sha256,
        "prompt": open_recipe(output.job).prompt,
        "model": model,
    }
    return submit_job(
        actor=actor,
        workspace=output.workspace,
        raw=raw,
        project_id=project.pk if project is not None and project.archived_at is None else None,
        idempotency_key=idempotency_key,
        tier=tier,
    )
