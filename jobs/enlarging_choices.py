"""By how much a picture can be made larger by whom."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol import recipe as limits
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import AssetKind, ControlKind
from jobs.models import Output
from library.fitting import why_unfit
from library.selectors import quickest_first, usable_controls, usable_versions


def can_process(actor: Actor, kind: AssetKind) -> bool:
    """Whether this person may make something of a picture, and there is a model of this kind."""
    may = actor.can(Permission.JOB_SUBMIT) and actor.can(Permission.UPLOAD_CREATE)
    return may and bool(usable_versions(kind))


def upscale_choices(output: Output, actor: Actor) -> list[int]:
    """By how much the picture can be enlarged by this person; empty without an upscaler."""
    if not can_process(actor, AssetKind.UPSCALER):
        return []
    width, height = output.picture.width, output.picture.height
    return [scale for scale in limits.SCALES if limits.can_become(width, height, scale)]


def upscaler_choices() -> list[dict[str, str]]:
    """Those to choose from, the quickest first; empty where there is no choice."""
    found = quickest_first(usable_versions(AssetKind.UPSCALER))
    rows = [{"digest": version.digest, "name": version.asset.name} for version in found]
    return rows if len(rows) > 1 else []


def refining_choices(output: Output, recipe: Recipe, actor: Actor) -> list[int]:
    """By how much this person can have the picture drawn again larger."""
    may = actor.can(Permission.JOB_SUBMIT) and actor.can(Permission.UPLOAD_CREATE)
    width, height = output.picture.width, output.picture.height
    if not may or not recipe.is_drawn or max(width, height) > limits.SIDE_MAX:
        return []
    return [scale for scale in limits.SCALES if limits.can_become(width, height, scale)]


def tile_control(output: Output) -> str:
    """Digest of the first ControlNet for tiles that fits the model; empty if none does."""
    model = output.job.model_version
    nets = (each for each in usable_controls() if ControlKind.TILE.value in each.trigger_words)
    return next((each.digest for each in nets if not why_unfit(each, model)), "")
