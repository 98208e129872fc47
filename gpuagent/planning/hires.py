"""Drawing a picture again larger: in which tiles, how much work, how much memory. Pure."""

from __future__ import annotations

from gpuagent.protocol.recipe import Recipe

# Of a tile's side: how much of it each neighbor draws, too, at least. Over it they are blended.
OVERLAP = 4
# Of the result, in the host's memory: its pixels as floats while tiles are blended, as bytes, and
# as a picture while it is encoded and a file made of it.
RESULT_BYTES_PER_PIXEL = 24
# And the map of each control, as bytes.
MAP_BYTES_PER_PIXEL = 3


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin, evenly, so that each overlaps the next by a fourth or more."""
    if length <= side:
        return [0]
    count = 1 - (side - length) // (side - side // OVERLAP)
    return [round(number * (length - side) / (count - 1)) for number in range(count)]


def tiles_of(recipe: Recipe) -> int:
    """How many tiles the larger picture is drawn in."""
    width, height = recipe.result_size
    if not recipe.hires_tile:
        return 1
    across, down = (len(starts(length, recipe.hires_tile)) for length in (width, height))
    return across * down


def refining_steps(recipe: Recipe) -> int:
    """Steps that are made on each tile."""
    steps = recipe.hires_steps or recipe.num_inference_steps
    return max(1, min(int(steps * recipe.hires_strength), steps))


def refining_pixels(recipe: Recipe) -> int:
    """Pixels that each step goes through, overlaps included."""
    width, height = _tile(recipe)
    return tiles_of(recipe) * width * height


def drawn_size(recipe: Recipe) -> tuple[int, int]:
    """The largest that goes through the model at once."""
    if not recipe.is_hires:
        return recipe.width, recipe.height
    draft = (recipe.width, recipe.height) if recipe.denoising_steps else (0, 0)
    return max(draft, _tile(recipe), key=lambda size: size[0] * size[1])


def held_for_result(recipe: Recipe) -> int:
    """Bytes of the host's memory that the larger picture takes."""
    if not recipe.is_hires:
        return 0
    width, height = recipe.result_size
    maps = len(recipe.controls) * MAP_BYTES_PER_PIXEL
    return width * height * (RESULT_BYTES_PER_PIXEL + maps)


def _tile(recipe: Recipe) -> tuple[int, int]:
    width, height = recipe.result_size
    side = recipe.hires_tile
    return (min(width, side), min(height, side)) if side else (width, height)
