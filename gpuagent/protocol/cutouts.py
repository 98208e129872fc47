"""The part of a recipe that takes the background away. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from gpuagent.protocol.recipe_reader import Reader, short

EDGE_MAX = 64
# The fields of such a recipe besides `model`, `prompt`, `image`, `width` and `height`.
CUTOUT_FIELDS = ("cutout", "cutout_edge", "cutout_result")
NOT_ASKED = (None, "", False, 0, "0", "false")
_YES = (True, 1, "1", "true", "on")


class CutoutResult(StrEnum):
    """What is made: the objects without their background, or where they are (white)."""

    PICTURE = "picture"
    MASK = "mask"


def asks_to_cut(raw: Mapping[str, object]) -> bool:
    """Whether a request, right or wrong, is one for a picture without its background."""
    return raw.get("cutout") not in NOT_ASKED


def read_cutout(reader: Reader, others: tuple[str, ...]) -> dict[str, Any]:
    """What only such a recipe has; `others` are settings that cannot stand beside it."""
    if reader.raw.get("cutout") not in _YES:
        message = "Say true to take the background away, or leave it out."
        reader.problem("cutout", "not_true_or_false", message, short(reader.raw.get("cutout")))
    for field in others:
        if reader.raw.get(field) not in NOT_ASKED:
            message = "The background is taken away from a picture as it is. Do the other before."
            reader.problem(field, "not_with_cutout", message)
            break
    if reader.raw.get("image") in (None, ""):
        message = "There is no picture to take the background from. Add one."
        reader.problem("image", "needs_image", message)
    results = [result.value for result in CutoutResult]
    return {
        "cutout": True,
        "cutout_edge": reader.integer("cutout_edge", 0, 0, EDGE_MAX, "The soft edge"),
        "cutout_result": CutoutResult(
            reader.one_of(
                "cutout_result", results, CutoutResult.PICTURE, "unknown_result", "result"
            )
        ),
    }
