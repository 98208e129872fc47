"""How tensors of a single file become tensors of a part: what all parts have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from library.tensor_files import Shape


class UnfitFileError(ValueError):
    """The file is not a whole checkpoint of its family; the text says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A tensor under its name in the single file (`old`) and in the part (`new`).

    With `rows` it is some of the old one's rows. `is_turned`: the file has rows for columns.
    """

    old: str
    new: str
    shape: Shape
    rows: tuple[int, int] | None = None
    is_turned: bool = False


def shape_of(shapes: Mapping[str, Shape], name: str, dimensions: int) -> Shape:
    """The shape of a tensor that everything else is told by.

    Raises:
        UnfitFileError: it is missing, or has another number of sides.
    """
    shape = shapes.get(name)
    if shape is None:
        raise UnfitFileError(f"it lacks {name!r}")
    if len(shape) != dimensions or not all(shape):
        raise UnfitFileError(f"{name!r} is {sides(shape)}")
    return shape


def count(shapes: Mapping[str, Shape], pattern: str, most: int = 64, *, step: int = 1) -> int:
    """How many there are of a name with `{}` for its number, from 0, in steps."""
    found = 0
    while found < most and pattern.format(found * step) in shapes:
        found += 1
    return found


def weighted(old: str, new: str, shape: Sequence[int], *, bias: bool = True) -> Iterator[Piece]:
    """A layer's weights, and its bias: as long as the first side."""
    yield Piece(old=f"{old}.weight", new=f"{new}.weight", shape=tuple(shape))
    if bias:
        yield Piece(old=f"{old}.bias", new=f"{new}.bias", shape=(shape[0],))


def sides(shape: Shape) -> str:
    """`320 × 4 × 3 × 3`."""
    return " × ".join(map(str, shape)) or "a single number"


def trimmed(shape: Shape) -> Shape:
    """Without ones at the end: a window of one pixel is as none."""
    end = len(shape)
    while end and shape[end - 1] == 1:
        end -= 1
    return shape[:end]
