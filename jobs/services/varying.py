"""Variations of a picture, and drawing one again larger: jobs for a picture that was made here."""

from __future__ import annotations

import secrets

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol.recipe import SEED_MAX, SIDE_MAX, SIDE_MULTIPLE, SIDES, Recipe
from gpuagent.protocol.taxonomy import ControlKind
from gpuagent.protocol.tuning import LANCZOS, Tuning
from jobs.models import Output
from jobs.recipes import exactly, open_recipe
from jobs.services.submission import Submitted, submit_job
from studio.core.errors import invalid
from workspaces.access import require_in
from workspaces.services.uploads import add_upload_of

VARIATIONS = 4
VARIATION_STRENGTH = 0.2


def vary_output(
    *,
    output: Output,
    actor: Actor,
    count: object = None,
    strength: object = None,
    seed: object = None,
    idempotency_key: str | None = None,
    tier: object = None,
) -> Submitted:
    """Pictures near this one: its recipe, with the first noise moved a part of the way to others.

    Raises:
        InvalidInputError: it was not drawn but enlarged, or a number is out of its limits.
        ForbiddenError: the role may not submit.
    """
    require_in(actor, output.workspace, Permission.JOB_SUBMIT)
    recipe = _drawn(output)
    if strength in (0, "0", 0.0):
        message = "At strength 0 a variation is the picture itself. Choose more, up to 1."
        raise invalid("variation_strength", "no_variation", message, 0)
    raw = {
        **exactly(recipe),
        "num_images_per_prompt": VARIATIONS if count in (None, "") else count,
        "variation_strength": VARIATION_STRENGTH if strength in (None, "") else strength,
        "variation_seed": secrets.randbelow(SEED_MAX + 1) if seed in (None, "") else seed,
    }
    return _submit(output, actor, raw, idempotency_key, tier)


def refine_output(
    *,
    output: Output,
    actor: Actor,
    scale: object,
    strength: object,
    upscaler: object = None,
    control: object = None,
    idempotency_key: str | None = None,
    tier: object = None,
) -> Submitted:
    """The picture larger, and drawn again in tiles by the model that made it.

    What guided it guides it again; or `control` does, a ControlNet for tiles that keeps it to the
    picture itself.

    Raises:
        InvalidInputError: it was not drawn, is too large, or a number is out of its limits.
        ForbiddenError: the role may not submit or not upload.
    """
    require_in(actor, output.workspace, Permission.JOB_SUBMIT)
    recipe, picture = _drawn(output), output.picture
    if max(picture.width, picture.height) > SIDE_MAX:
        message = (
            f"The picture is {picture.width} × {picture.height}; one that is drawn again has at "
            f"most {SIDE_MAX:,} pixels a side. Upscale it without drawing."
        )
        raise invalid("scale", "too_large", message, picture.width, SIDE_MAX)
    upload = add_upload_of(actor=actor, picture=picture)
    parts = {f"outpaint_{side}" for side in SIDES} | {"mask", "mask_blur", "mask_padding"}
    gone = {*parts, "inpaint_area", *Tuning.__dataclass_fields__} - {"sigmas", "guidance_end"}
    gone.add("references")
    said = {name: value for name, value in exactly(recipe).items() if name not in gone}
    if control not in (None, ""):
        said["controls"] = [{"kind": ControlKind.TILE.value, "model": control}]
    elif recipe.mask is not None or recipe.is_outpaint:
        said.pop("controls", None)  # they lay over the part that was changed
    raw = {
        **said,
        "image": upload.picture.sha256,
        "strength": 0,
        "width": picture.width // SIDE_MULTIPLE * SIDE_MULTIPLE,
        "height": picture.height // SIDE_MULTIPLE * SIDE_MULTIPLE,
        "hires_scale": scale,
        "hires_strength": strength,
        "hires_upscaler": upscaler or LANCZOS,
    }
    return _submit(output, actor, raw, idempotency_key, tier)


def _drawn(output: Output) -> Recipe:
    recipe = open_recipe(output.job).only(output.index)
    if not recipe.is_drawn:
        message = "This picture was enlarged and not drawn. Take the one that it was made from."
        raise invalid("output", "not_drawn", message)
    return recipe


def _submit(
    output: Output, actor: Actor, raw: dict[str, object], key: str | None, tier: object
) -> Submitted:
    project = output.project
    return submit_job(
        actor=actor,
        workspace=output.workspace,
        raw=raw,
        project_id=project.pk if project is not None and project.archived_at is None else None,
        idempotency_key=key,
        tier=tier,
    )
