"""The compact network of Real-ESRGAN in a single file: its plan told from shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from library.single_files.pieces import UnfitFileError, shape_of, sides, weighted
from library.tensor_files import Shape

_OUT = 48  # three colors, and four pixels for one to each side
_LAYERS_MAX = 200


def compact_config(shapes: Mapping[str, Shape]) -> dict[str, object]:
    """The configuration of the network, if all of it is there and nothing else.

    Raises:
        UnfitFileError: it is another network, or incomplete.
    """
    numbers = [int(found[1]) for name in shapes if (found := re.match(r"body\.(\d{1,3})\.", name))]
    last = max(numbers, default=0)
    blocks, rest = divmod(last - 2, 2)
    if rest or not blocks >= 1 or last > _LAYERS_MAX:
        raise UnfitFileError("its layers are not those of the compact network")
    features = shape_of(shapes, "body.0.weight", 4)[0]
    wanted: dict[str, Shape] = {}
    for number in range(last + 1):
        name = f"body.{number}"
        if number % 2:
            wanted[f"{name}.weight"] = (features,)
            continue
        outward = _OUT if number == last else features
        layer = (outward, features if number else 3, 3, 3)
        wanted |= {piece.new: piece.shape for piece in weighted(name, name, layer)}
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            is_now = sides(shapes[name]) if name in shapes else "missing"
            raise UnfitFileError(f"{name!r} is {is_now}; it would be {sides(shape)}")
    if strange := sorted(set(shapes) - set(wanted)):
        raise UnfitFileError(f"it holds {strange[0][:80]!r}, too")
    return {"network": "compact", "features": features, "blocks": blocks}
