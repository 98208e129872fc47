"""Enlarging a picture: a job for a picture that was made here."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol.recipe import SCALES
from gpuagent.protocol.recipe_reader import as_integer
from jobs.models import Output
from jobs.recipes import open_recipe
from jobs.services.enlarging import check_result
from jobs.services.submission import Submitted, submit_job
from jobs.services.varying import refine_output
from studio.core.errors import invalid
from workspaces.access import require_in
from workspaces.services.uploads import add_upload_of


def upscale_output(
    *,
    output: Output,
    actor: Actor,
    scale: object,
    model: object = None,
    refine: object = None,
    control: object = None,
    idempotency_key: str | None = None,
    tier: object = None,
) -> Submitted:
    """Enlarge a picture that was made here: a new job, in the picture's project.

    With `refine`, a strength, it is drawn again by the model that made it, in tiles; with
    `control`, a ControlNet for tiles, it is kept to what it shows.

    Raises:
        InvalidInputError: another scale than 2 or 4, too large a result, or no upscaler.
        ForbiddenError: the role may not submit or not upload.
    """
    require_in(actor, output.workspace, Permission.JOB_SUBMIT)
    check_result(output.picture.width, output.picture.height, _scale(scale))
    if refine not in (None, ""):
        return refine_output(
            output=output,
            actor=actor,
            scale=scale,
            strength=refine,
            upscaler=model,
            control=control,
            idempotency_key=idempotency_key,
            tier=tier,
        )
    if control not in (None, ""):
        message = "A ControlNet leads what is drawn again. Give a strength as refine, or leave it."
        raise invalid("control", "needs_refine", message)
    upload = add_upload_of(actor=actor, picture=output.picture)
    recipe, project = open_recipe(output.job), output.project
    raw = {"image": upload.picture.sha256, "scale": scale, "prompt": recipe.prompt, "model": model}
    return submit_job(
        actor=actor,
        workspace=output.workspace,
        raw=raw,
        project_id=project.pk if project is not None and project.archived_at is None else None,
        idempotency_key=idempotency_key,
        tier=tier,
    )


def _scale(given: object) -> int:
    value = as_integer(given)
    if value is None or value not in SCALES:
        named = " or ".join(map(str, SCALES))
        message = f"A picture can be upscaled by {named}."
        raise invalid("scale", "unknown_scale", message, str(given)[:40], list(SCALES))
    return int(value)
