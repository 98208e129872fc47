"""Upscalers in single files: which network it is, told from names and shapes.

Two are known: the compact network of Real-ESRGAN and the RRDBNet of ESRGAN, which three tools spell
in three ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from library.single_files.pieces import Piece, UnfitFileError, count, shape_of, sides, weighted
from library.tensor_files import Shape

_OUT = 48  # three colors, and four pixels for one to each side
# Agents look two pixels further than so many blocks see, unless the configuration says how far.
_BLOCKS_USUAL = 16
_BLOCKS_MAX = 64
# As wide as an agent would build; published are 64.
_WIDTH_MAX = 128
_SCALES = (2, 4)
_DENSE = 5

Config = dict[str, object]


def plan_upscaler(shapes: Mapping[str, Shape]) -> tuple[Config, tuple[Piece, ...]]:
    """The configuration of the network and its tensors, if all are there and nothing else.

    Raises:
        UnfitFileError: it is another network, or incomplete.
    """
    spelling = next((each for each in _SPELLINGS if f"{each.first}.weight" in shapes), None)
    config, pieces = _plan_compact(shapes) if spelling is None else _plan_rrdb(shapes, spelling)
    for piece in pieces:
        if shapes.get(piece.old) != piece.shape:
            is_now = sides(shapes[piece.old]) if piece.old in shapes else "missing"
            raise UnfitFileError(f"{piece.old!r} is {is_now}; it would be {sides(piece.shape)}")
    if strange := sorted(set(shapes) - {piece.old for piece in pieces}):
        raise UnfitFileError(f"it holds {strange[0][:80]!r}, too")
    return config, pieces


def _plan_compact(shapes: Mapping[str, Shape]) -> tuple[Config, tuple[Piece, ...]]:
    numbers = [int(found[1]) for name in shapes if (found := re.match(r"body\.(\d{1,3})\.", name))]
    last = max(numbers, default=0)
    blocks, rest = divmod(last - 2, 2)
    if rest or not 1 <= blocks <= _BLOCKS_MAX:
        raise UnfitFileError("its layers are not those of the compact network")
    features = shape_of(shapes, "body.0.weight", 4)[0]
    _check_width(features)
    pieces: list[Piece] = []
    for number in range(last + 1):
        name = f"body.{number}"
        if number % 2:
            slopes = f"{name}.weight"
            pieces.append(Piece(old=slopes, new=slopes, shape=(features,)))
            continue
        outward = _OUT if number == last else features
        pieces += weighted(name, name, (outward, features if number else 3, 3, 3))
    config: Config = {"network": "compact", "features": features, "blocks": blocks}
    if blocks > _BLOCKS_USUAL:
        config["overlap"] = blocks + 2
    return config, tuple(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spelling:
    """How a tool names the layers of RRDBNet."""

    first: str
    block: str
    dense: str  # of the block's number, the group's and the layer's
    body: Callable[[int], str]  # after so many blocks
    ups: tuple[str, ...]
    ends: Callable[[int], tuple[str, str]]  # after so many enlargements


_SPELLINGS = (
    _Spelling(  # Real-ESRGAN
        first="conv_first",
        block="body.{}.rdb1.conv1.weight",
        dense="body.{}.rdb{}.conv{}",
        body=lambda _blocks: "conv_body",
        ups=("conv_up1", "conv_up2"),
        ends=lambda _ups: ("conv_hr", "conv_last"),
    ),
    _Spelling(  # BSRGAN, and ESRGAN's later code
        first="conv_first",
        block="RRDB_trunk.{}.RDB1.conv1.weight",
        dense="RRDB_trunk.{}.RDB{}.conv{}",
        body=lambda _blocks: "trunk_conv",
        ups=("upconv1", "upconv2"),
        ends=lambda _ups: ("HRconv", "conv_last"),
    ),
    _Spelling(  # ESRGAN's first code, in which most models for it were published
        first="model.0",
        block="model.1.sub.{}.RDB1.conv1.0.weight",
        dense="model.1.sub.{}.RDB{}.conv{}.0",
        body=lambda blocks: f"model.1.sub.{blocks}",
        ups=("model.3", "model.6"),
        ends=lambda ups: (f"model.{3 * ups + 2}", f"model.{3 * ups + 4}"),
    ),
)


def _plan_rrdb(
    shapes: Mapping[str, Shape], spelling: _Spelling
) -> tuple[Config, tuple[Piece, ...]]:
    same = [each for each in _SPELLINGS if each.first == spelling.first]
    spelling = next((each for each in same if each.block.format(0) in shapes), spelling)
    blocks = count(shapes, spelling.block, _BLOCKS_MAX)
    if not blocks:
        raise UnfitFileError(f"it lacks {spelling.block.format(0)!r}")
    features, channels = shape_of(shapes, f"{spelling.first}.weight", 4)[:2]
    growth = shape_of(shapes, spelling.block.format(0), 4)[0]
    ups = _ups(shapes, spelling)
    fold = {3: 1, 12: 2}.get(channels, 0)
    scale = 2**ups // fold if fold else 0
    if scale not in _SCALES:
        message = f"it enlarges {2**ups} times what it reads in {channels} channels"
        raise UnfitFileError(f"{message}; networks of ×2 and ×4 can be used")
    _check_width(max(features, growth))
    config: Config = {
        "network": "rrdb",
        "features": features,
        "growth": growth,
        "blocks": blocks,
        "ups": ups,
        "fold": fold,
    }
    return config, tuple(_rrdb_pieces(spelling, features, growth, blocks, ups, channels))


def _check_width(width: int) -> None:
    if width > _WIDTH_MAX:
        message = f"its layers are {width} channels wide; at most {_WIDTH_MAX} can be used"
        raise UnfitFileError(message)


def _ups(shapes: Mapping[str, Shape], spelling: _Spelling) -> int:
    """How often it doubles sides. Of the oldest names a number stands for other layers, too."""
    for ups in range(len(spelling.ups), 0, -1):
        hr, last = spelling.ends(ups)
        names = (*spelling.ups[:ups], hr, last)
        if all(f"{name}.weight" in shapes for name in names):
            return ups
    raise UnfitFileError("the layers after its blocks are others than those of ESRGAN")


def _rrdb_pieces(
    spelling: _Spelling, features: int, growth: int, blocks: int, ups: int, channels: int
) -> Iterator[Piece]:
    window, new = (3, 3), _SPELLINGS[0]
    yield from weighted(spelling.first, new.first, (features, channels, *window))
    for block in range(blocks):
        for group in range(1, 4):
            for number in range(_DENSE):
                at = (block, group, number + 1)
                after = features if number == _DENSE - 1 else growth
                shape = (after, features + number * growth, *window)
                yield from weighted(spelling.dense.format(*at), new.dense.format(*at), shape)
    inner = (features, features, *window)
    yield from weighted(spelling.body(blocks), new.body(blocks), inner)
    for number in range(ups):
        yield from weighted(spelling.ups[number], new.ups[number], inner)
    (hr, last), (new_hr, new_last) = spelling.ends(ups), new.ends(ups)
    yield from weighted(hr, new_hr, inner)
    yield from weighted(last, new_last, (3, features, *window))
