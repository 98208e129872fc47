"""Maps for ControlNets, made from a picture by arithmetic alone: edges, line art, scribbles, tiles.

The agent makes a recipe's maps with it. To show one before, the web side runs the same file as a
program of its own, as it does with decoding; so it imports nothing of ours.

As a program: the arguments are kind, width, height and two thresholds; it reads a PNG from standard
input and writes one.
"""

from __future__ import annotations

import io
import math
import resource
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

MEMORY_BYTES = 3 * 1024**3
CPU_SECONDS = 60
PIXELS_MAX = 64_000_000
# Of the picture before its edges are looked for, in pixels; the house ControlNet learned from such.
_CANNY_BLUR = 1.0
# Neighbors across an edge, as (down, right), by the sector of 45° in which its gradient points.
_ACROSS = ((0, 1), (1, 1), (1, 0), (1, -1))
# XDoG: the finer of two blurs, how much wider the other is and how much of it is taken away, and
# how soon a difference is a line.
_LINE_BLUR, _LINE_RATIO, _LINE_SHARE, _LINE_FROM, _LINE_SLOPE = 0.7, 1.6, 0.98, 0.0, 60.0
# A scribble: edges of a picture blurred by so much, without the short ones, drawn this thick at
# 512 pixels a side.
_SCRIBBLE_BLUR, _SCRIBBLE_THICK, _SCRIBBLE_SIDE = 2.5, 5, 512
_SCRIBBLE_LOW, _SCRIBBLE_HIGH, _SCRIBBLE_SHORT = 0.03, 0.08, 24
_TILE_BY = 8


def make_map(kind: str, picture: Image.Image, *, low: int = 6, high: int = 16) -> Image.Image:
    """The map of a picture, of its size; white lines on black but for tiles. `low` and `high` are
    Canny's thresholds, in hundredths of the step from black to white.

    Raises:
        KeyError: maps of this kind are not made from pixels alone.
    """
    if kind == "canny":
        return _drawn(canny(_values(picture), low / 100, high / 100))
    return _MAKERS[kind](picture)


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled to fill the size and cut to it; one that has the size is left as it is."""
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def canny(values: Floats, low: float, high: float, *, blur: float = _CANNY_BLUR) -> Flags:
    """Where colors `[channels, h, w]` of 0 to 1 change sharply: lines one pixel wide.

    A line is as strong as `high` somewhere, and as `low` all along.
    """
    down, right = _gradient(_blurred(values, blur, reach=math.ceil(2 * blur)))
    strength = np.hypot(down, right)
    thin = _thinned(strength, down, right)
    return _followed(thin & (strength >= high), thin & (strength >= low))


def _lineart(picture: Image.Image) -> Image.Image:
    """Lines where it is darker than around, by the extended difference of two blurs."""
    gray = np.asarray(picture.convert("L"), dtype=np.float32)[None] / np.float32(255)
    fine, wide = _blurred(gray, _LINE_BLUR), _blurred(gray, _LINE_BLUR * _LINE_RATIO)
    difference = (fine - _LINE_SHARE * wide)[0] - _LINE_FROM
    lines = -np.tanh(_LINE_SLOPE * np.minimum(difference, 0))
    return Image.fromarray((lines * 255).round().astype(np.uint8)).convert("RGB")


def _scribble(picture: Image.Image) -> Image.Image:
    """What a hand would draw quickly: the main edges, thick."""
    scale = max(picture.size) / _SCRIBBLE_SIDE
    blur = max(1.0, _SCRIBBLE_BLUR * scale)
    lines = canny(_values(picture), _SCRIBBLE_LOW, _SCRIBBLE_HIGH, blur=blur)
    long = _without_short(lines, max(4, round(_SCRIBBLE_SHORT * scale)))
    return _drawn(_thickened(long, max(1, round(_SCRIBBLE_THICK * scale) // 2)))


def _tile(picture: Image.Image) -> Image.Image:
    """The colors without the detail."""
    small = [max(1, side // _TILE_BY) for side in picture.size]
    little = picture.convert("RGB").resize((small[0], small[1]), Image.Resampling.BOX)
    return little.resize(picture.size, Image.Resampling.BICUBIC)


_MAKERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "lineart": _lineart,
    "scribble": _scribble,
    "tile": _tile,
}


def _values(picture: Image.Image) -> Floats:
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _drawn(lines: Flags) -> Image.Image:
    return Image.fromarray(np.where(lines, 255, 0).astype(np.uint8)).convert("RGB")


def _blurred(values: Floats, blur: float, *, reach: int | None = None) -> Floats:
    reach = math.ceil(3 * blur) if reach is None else reach
    bell = np.exp(-((np.arange(-reach, reach + 1, dtype=np.float32) / np.float32(blur)) ** 2) / 2)
    bell = (bell / bell.sum()).astype(np.float32)
    return _separable(values, bell, bell)


def _gradient(values: Floats) -> tuple[Floats, Floats]:
    """Sobel's slopes `[h, w]` downwards and to the right, of the channel that changes most."""
    slope = np.array([-1, 0, 1], dtype=np.float32)
    smooth = np.array([0.25, 0.5, 0.25], dtype=np.float32)
    down, right = _separable(values, slope, smooth), _separable(values, smooth, slope)
    best = (np.square(down) + np.square(right)).argmax(axis=0)[None]
    return (
        np.take_along_axis(down, best, axis=0)[0],
        np.take_along_axis(right, best, axis=0)[0],
    )


def _separable(values: Floats, down: Floats, right: Floats) -> Floats:
    """Each channel filtered by `down` along its columns, then by `right` along its rows."""
    reach, (height, width) = len(down) // 2, values.shape[-2:]
    padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows = np.zeros_like(padded[:, :height])
    for place, weight in enumerate(down):
        if weight:
            rows += padded[:, place : place + height] * weight
    made = np.zeros_like(values)
    for place, weight in enumerate(right):
        if weight:
            made += rows[..., place : place + width] * weight
    return made


def _thinned(strength: Floats, down: Floats, right: Floats) -> Flags:
    """Where the gradient is stronger than at both neighbors across the edge."""
    steep, flat = math.tan(math.radians(67.5)), math.tan(math.radians(22.5))
    level, upright = np.abs(down) <= flat * np.abs(right), np.abs(down) > steep * np.abs(right)
    leans = ~level & ~upright
    falls = (down * right) > 0
    peak = np.zeros_like(level)
    padded = np.pad(strength, 1)
    for sector, (dy, dx) in zip(
        (level, leans & falls, upright, leans & ~falls), _ACROSS, strict=True
    ):
        ahead, behind = _shifted(padded, dy, dx), _shifted(padded, -dy, -dx)
        peak |= sector & (strength > ahead) & (strength >= behind)
    return peak


def _shifted(padded: Floats, down: int, right: int) -> Floats:
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _followed(strong: Flags, weak: Flags) -> Flags:
    """Strong points, and the weak ones that hang together with them.

    Walked point by point from the strong ones: lines are long and few, so growing the whole
    picture by a pixel at a time would take a pass for each.
    """
    width = weak.shape[1] + 2
    open_points = np.pad(weak, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    front = np.flatnonzero(np.pad(strong & weak, 1))
    found = np.zeros_like(open_points)
    while front.size:
        found[front] = True
        open_points[front] = False
        near = np.unique((front[:, None] + around).ravel())
        front = near[open_points[near]]
    return np.ascontiguousarray(found.reshape(-1, width)[1:-1, 1:-1])


def _without_short(lines: Flags, shortest: int) -> Flags:
    """Lines of at least so many points."""
    left, kept = lines.copy(), np.zeros_like(lines)
    for row, column in np.argwhere(lines):
        if not left[row, column]:
            continue
        line = _line_at(left, int(row), int(column))
        if len(line) >= shortest:
            kept[tuple(np.transpose(line))] = True
    return kept


def _line_at(left: Flags, row: int, column: int) -> list[tuple[int, int]]:
    """All points that hang together with this one; they are taken out of `left`."""
    height, width = left.shape
    waiting, line = [(row, column)], []
    left[row, column] = False
    while waiting:
        y, x = waiting.pop()
        line.append((y, x))
        for ny in range(max(0, y - 1), min(height, y + 2)):
            for nx in range(max(0, x - 1), min(width, x + 2)):
                if left[ny, nx]:
                    left[ny, nx] = False
                    waiting.append((ny, nx))
    return line


def _thickened(lines: Flags, radius: int) -> Flags:
    """Every point a disc."""
    height, width = lines.shape
    padded, thick = np.pad(lines, radius), np.zeros_like(lines)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= radius * radius:
                top, left = radius + dy, radius + dx
                thick |= padded[top : top + height, left : left + width]
    return thick


def _confine() -> None:
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for which, limit in limits.items():
        _soft, hard = resource.getrlimit(which)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))


def main(kind: str, width: int, height: int, low: int, high: int) -> None:
    """One picture from standard input, its map to standard output."""
    _confine()
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    with Image.open(sys.stdin.buffer, formats=("PNG",)) as picture:
        plain = picture.convert("RGB")
    made = make_map(kind, fitted(plain, width, height), low=low, high=high)
    encoded = io.BytesIO()
    made.save(encoded, "PNG", compress_level=4)
    sys.stdout.buffer.write(encoded.getbuffer())


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in sys.argv[2:6]))
