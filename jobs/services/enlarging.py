"""What is asked of a submission that draws nothing: its kind of model, the size of the result."""

from __future__ import annotations

from dataclasses import replace

from gpuagent.protocol.enlarging import UPSCALED_PIXELS_MAX, UPSCALED_SIDE_MAX, can_become
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import AssetKind
from jobs.models import InputRole
from jobs.services.inputs import Inputs
from jobs.services.mapping import check_mapper
from library.models import ModelVersion
from studio.core.errors import invalid

_DOES = {
    AssetKind.CHECKPOINT: "draws pictures",
    AssetKind.UPSCALER: "only upscales",
    AssetKind.CUTTER: "only takes backgrounds away",
    AssetKind.MAPPER: "only makes maps",
}
_NEEDED = {
    AssetKind.CHECKPOINT: "Choose a model that draws.",
    AssetKind.UPSCALER: "Choose an upscaler.",
    AssetKind.CUTTER: "Choose a background remover.",
    AssetKind.MAPPER: "Choose a map maker.",
}
_ONLY = {
    AssetKind.UPSCALER: "only_upscales",
    AssetKind.CUTTER: "only_cuts_out",
    AssetKind.MAPPER: "only_maps",
}
_NOT = {
    AssetKind.UPSCALER: "not_an_upscaler",
    AssetKind.CUTTER: "not_a_cutter",
    AssetKind.MAPPER: "not_a_mapper",
}


def check_kind(recipe: Recipe, version: ModelVersion) -> None:
    """An upscaler cannot draw, what draws cannot enlarge, and so on.

    Raises:
        InvalidInputError: the model is of another kind than the recipe needs.
    """
    needed, kind = recipe.model_kind, AssetKind(version.asset.kind)
    if kind is not needed:
        code = _NOT.get(needed) or _ONLY.get(kind, "no_model")
        message = f"{version.asset.name} {_DOES[kind]}. {_NEEDED[needed]}"
        raise invalid("model", code, message)
    if recipe.map_kind is not None:
        check_mapper(version, recipe.map_kind, "model")


def with_size(recipe: Recipe, inputs: Inputs) -> Recipe:
    """What draws nothing with the size of its result; any other recipe as it is.

    Raises:
        InvalidInputError: the result would be too large.
    """
    if recipe.is_drawn or recipe.map_kind is not None:
        return recipe
    image = inputs[InputRole.IMAGE]
    if recipe.cutout:
        return replace(recipe, width=image.width, height=image.height)
    check_result(image.width, image.height, recipe.scale)
    return replace(recipe, width=image.width * recipe.scale, height=image.height * recipe.scale)


def check_result(width: int, height: int, scale: int) -> None:
    """How large a picture may become.

    Raises:
        InvalidInputError: larger than may be; the message says by how much.
    """
    if can_become(width, height, scale):
        return
    wide, tall = width * scale, height * scale
    smaller = "Choose ×2." if can_become(width, height, 2) else "Make the picture smaller first."
    message = (
        f"{width} × {height} times {scale} is {wide} × {tall}; at most {UPSCALED_SIDE_MAX:,} "
        f"pixels a side and {UPSCALED_PIXELS_MAX // 1_000_000} megapixels can be made. "
        f"{smaller}"
    )
    limit = [UPSCALED_SIDE_MAX, UPSCALED_PIXELS_MAX]
    raise invalid("scale", "result_too_large", message, [wide, tall], limit)
