"""What a submission fills in of the settings that tune a drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gpuagent.protocol.families import can_tile
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_reader import as_float
from gpuagent.protocol.taxonomy import Architecture
from gpuagent.protocol.tuning import HIRES_TILE_MAX, HIRES_TILE_MULTIPLE
from library.models import ModelVersion
from studio.core.errors import InvalidInputError, invalid

# Tiles of this many times the model's own side: larger ones repeat less of what the prompt says,
# and models keep their sense of a whole up to about so much.
TILE_SIDES = 1.5


def varies(raw: Mapping[str, object]) -> bool:
    """Whether a request, right or wrong, is one for variations."""
    given = raw.get("variation_strength")
    return given not in (None, "") and as_float(given) != 0


def with_tile(recipe: Recipe, raw: Mapping[str, object], version: ModelVersion) -> Recipe:
    """A second drawing in tiles that suit the model, unless the request says how large."""
    is_asked = recipe.is_hires and raw.get("hires_tile") in (None, "")
    if not is_asked or not can_tile(Architecture(version.architecture)):
        return recipe
    side = int(max(version.default_width, version.default_height) * TILE_SIDES)
    side = min(HIRES_TILE_MAX, max(HIRES_TILE_MULTIPLE, side // HIRES_TILE_MULTIPLE * 64))
    return replace(recipe, hires_tile=side)


def no_room_for_hires(
    recipe: Recipe, needs: Callable[[Recipe], int], largest: int
) -> InvalidInputError:
    """No agent has the memory for it; what would help. `needs` is the memory of such a recipe."""
    width, height = recipe.result_size
    side = min(recipe.hires_tile or HIRES_TILE_MAX, max(width, height))
    sides = range(side // HIRES_TILE_MULTIPLE * HIRES_TILE_MULTIPLE, 0, -HIRES_TILE_MULTIPLE)
    fits = next((s for s in sides if needs(replace(recipe, hires_tile=s)) <= largest), None)
    if fits is not None:
        hint = f"In tiles of {fits} pixels it would fit."
    elif recipe.controls:
        hint = "Leave controls out, or make the first picture smaller."
    else:
        hint = "Make the first picture smaller, or enlarge it less."
    message = (
        f"A result of {width} × {height} needs about {needs(recipe) / 1024**3:.1f} GiB; the "
        f"largest agent has {largest / 1024**3:.1f} GiB. {hint}"
    )
    return invalid("hires_tile", "does_not_fit", message, recipe.hires_tile, fits)
