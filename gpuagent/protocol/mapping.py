"""The part of a recipe that makes a map by a network, to be seen or used by itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuagent.protocol.cutouts import NOT_ASKED
from gpuagent.protocol.recipe_reader import Reader
from gpuagent.protocol.taxonomy import MAPPED, ControlKind

MAP_FIELDS = ("map_kind",)
MAP_SIDE, MAP_SIDE_MIN = 512, 64


def asks_for_map(raw: Mapping[str, object]) -> bool:
    """Whether a request, right or wrong, is one for a map."""
    return raw.get("map_kind") not in NOT_ASKED


def read_map(reader: Reader, others: tuple[str, ...], *, side_max: int) -> dict[str, Any]:
    """What only such a recipe has; `others` are settings that cannot stand beside it."""
    kinds = list(dict.fromkeys(kind.value for kind in MAPPED.values()))
    kind = reader.one_of("map_kind", kinds, kinds[0], "unknown_kind", "network's map")
    for field in others:
        if reader.raw.get(field) not in NOT_ASKED:
            message = "A map is made of a picture as it is. Do the other before or after that."
            reader.problem(field, "not_with_map", message)
            break
    if reader.raw.get("image") in (None, ""):
        reader.problem("image", "needs_image", "There is no picture to make a map of. Add one.")
    return {
        "map_kind": ControlKind(kind),
        **{
            name: reader.integer(name, MAP_SIDE, MAP_SIDE_MIN, side_max, name.capitalize())
            for name in ("width", "height")
        },
    }
