"""What only an upscale asks of a submission: an upscaler, and the size of the result."""

from __future__ import annotations

from dataclasses import replace

from gpuagent.protocol.recipe import UPSCALED_PIXELS_MAX, UPSCALED_SIDE_MAX, Recipe, can_become
from gpuagent.protocol.taxonomy import AssetKind
from jobs.models import InputRole
from jobs.services.inputs import Inputs
from library.models import ModelVersion
from studio.core.errors import invalid


def check_kind(recipe: Recipe, version: ModelVersion) -> None:
    """An upscaler cannot draw, and what draws cannot enlarge.

    Raises:
        InvalidInputError: the model is of the other kind.
    """
    is_upscaler = version.asset.kind == AssetKind.UPSCALER.value
    if recipe.is_upscale and not is_upscaler:
        message = f"{version.asset.name} draws pictures and does not upscale. Choose an upscaler."
        raise invalid("model", "not_an_upscaler", message)
    if is_upscaler and not recipe.is_upscale:
        message = f"{version.asset.name} only upscales. Choose a model that draws, or a scale."
        raise invalid("model", "only_upscales", message)


def with_size(recipe: Recipe, inputs: Inputs) -> Recipe:
    """An upscale with the size of its result; any other recipe as it is.

    Raises:
        InvalidInputError: the result would be too large.
    """
    if not recipe.is_upscale:
        return recipe
    image = inputs[InputRole.IMAGE]
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
