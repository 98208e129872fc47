"""Which settings of a recipe go together, once each of them has been read. Pure."""

from __future__ import annotations

from gpuagent.protocol.recipe import SIDES, Recipe
from gpuagent.protocol.recipe_reader import Reader
from gpuagent.protocol.taxonomy import InpaintArea
from gpuagent.protocol.tuning import check_hires_size

KEPT_MIN = 32  # of a side of a picture that is extended


def check_together(reader: Reader, recipe: Recipe) -> None:
    """Settings that do not go together."""
    if recipe.is_hires:
        _check_hires(reader, recipe)
    if recipe.mask is not None and reader.raw.get("image") in (None, ""):
        message = "A mask says what of a starting picture is to change. Add the picture, too."
        reader.problem("mask", "needs_image", message)
    if recipe.inpaint_area is InpaintArea.MASKED and reader.raw.get("mask") in (None, ""):
        message = "There is no mask. Add one, or choose the whole picture."
        reader.problem("inpaint_area", "needs_mask", message)
    sides = [f"outpaint_{side}" for side in SIDES if getattr(recipe, f"outpaint_{side}")]
    if not sides:
        return
    if recipe.mask is not None:
        message = "Change a picture under a mask, or extend it. Remove the mask or the extension."
        reader.problem(sides[0], "not_with_mask", message)
    if reader.raw.get("image") in (None, ""):
        reader.problem(sides[0], "needs_image", "There is no picture to extend. Add one.")
    _check_kept(reader, recipe)


def _check_kept(reader: Reader, recipe: Recipe) -> None:
    """Width and height are those of the result: room must be left for the picture itself."""
    kept = recipe.kept_size
    for (first, second), whole, left in zip(
        (("left", "right"), ("top", "bottom")), (recipe.width, recipe.height), kept, strict=True
    ):
        if left >= KEPT_MIN:
            continue
        added = whole - left
        reader.problem(
            f"outpaint_{first if getattr(recipe, f'outpaint_{first}') else second}",
            "leaves_too_little",
            f"{first.capitalize()} and {second} are {added} of {whole} pixels together; at least "
            f"{KEPT_MIN} must be left for the picture. Add less, or make the result larger.",
            added,
            max(0, whole - KEPT_MIN),
        )


def _check_hires(reader: Reader, recipe: Recipe) -> None:
    """How large it may become, and what leads the first drawing alone."""
    check_hires_size(reader, recipe.width, recipe.height, recipe.hires_scale)
    if recipe.denoising_steps:
        return
    if recipe.references:
        message = (
            "A reference leads the first drawing, and at strength 0 there is none. Leave it out, "
            "or choose a strength."
        )
        reader.problem("references", "not_with_hires", message)
