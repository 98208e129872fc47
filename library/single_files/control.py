"""A ControlNet under its first names: half a U-Net, a reader of maps, and what connects them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from library.single_files import unet
from library.single_files.pieces import Piece, count, shape_of, weighted
from library.single_files.writing import Part, check_part, write_part
from library.tensor_files import Shape, TensorFile

PREFIX = "control_model."
_HINT, _READER = "input_hint_block", "controlnet_cond_embedding"


def prefix_of(file: TensorFile) -> str | None:
    """What its tensors' names begin with; None if they are not a ControlNet's first names."""
    first = f"{_HINT}.0.weight"
    return next((prefix for prefix in (PREFIX, "") if prefix + first in file.entries), None)


def write_control(path: Path, file: TensorFile, target: Path) -> None:
    """The same ControlNet under diffusers' names, tensor by tensor.

    Raises:
        UnfitFileError: it is not whole; the text names the first tensor that is wrong.
    """
    prefix = prefix_of(file) or ""
    shapes = {
        name.removeprefix(prefix): shape
        for name, shape in file.shapes.items()
        if name.startswith(prefix)
    }
    pieces = tuple(control_pieces(unet.read_plan(shapes, is_half=True), _reader_of(shapes)))
    part = Part(folder="", file=target.name, config={}, prefix=prefix, pieces=pieces)
    check_part(file, part)
    with path.open("rb") as source:
        write_part(source, file, part, target)


def control_pieces(plan: unet.UNetPlan, reader: Sequence[int]) -> Iterator[Piece]:
    """Every tensor of a ControlNet of this plan; `reader` are the channels of its reader of maps,
    from those of a map on.
    """
    yield from unet.way_down(plan)
    for number, width in enumerate(unet.passed(plan)):
        old, new = f"zero_convs.{number}.0", f"controlnet_down_blocks.{number}"
        yield from weighted(old, new, (width, width, 1, 1))
    width = plan.levels[-1].channels
    yield from weighted("middle_block_out.0", "controlnet_mid_block", (width, width, 1, 1))
    last = len(reader) - 2
    names = ["conv_in", *(f"blocks.{number}" for number in range(last - 1)), "conv_out"]
    for number, (name, before, after) in enumerate(zip(names, reader, reader[1:], strict=False)):
        yield from weighted(f"{_HINT}.{number * 2}", f"{_READER}.{name}", (after, before, 3, 3))


def _reader_of(shapes: Mapping[str, Shape]) -> list[int]:
    layers = count(shapes, _HINT + ".{}.weight", step=2)
    found = [shape_of(shapes, f"{_HINT}.{number * 2}.weight", 4) for number in range(layers)]
    return [found[0][1], *(shape[0] for shape in found)]
