"""Maps of large pictures, drawn in little memory: edges of 8K at once take gigabytes."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from gpuagent.protocol.taxonomy import ControlKind

# What is drawn at once: `gpuagent.maps` takes some sixty bytes for each of these pixels.
PIXELS_AT_ONCE = 2_000_000
# Above and below a band, so that the lines in it are those of the whole picture: a weak line is
# followed so far.
_MARGIN = 64
# Each line of these depends on what is near it. The others are drawn small and enlarged.
_LOCAL = frozenset({ControlKind.CANNY, ControlKind.LINEART})
# And these are small in themselves: drawn at once, whatever their size.
_CHEAP = frozenset({ControlKind.TILE})


def draw_large(
    kind: ControlKind, picture: Image.Image, draw: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """The map of a picture of any size by `draw`, which gives that of a smaller one."""
    pixels = picture.width * picture.height
    if pixels <= PIXELS_AT_ONCE or kind in _CHEAP:
        return draw(picture)
    if kind in _LOCAL:
        return _in_bands(picture, draw)
    by = (PIXELS_AT_ONCE / pixels) ** 0.5
    small = picture.resize(
        (max(1, int(picture.width * by)), max(1, int(picture.height * by))),
        Image.Resampling.LANCZOS,
    )
    return draw(small).resize(picture.size, Image.Resampling.BICUBIC)


def _in_bands(picture: Image.Image, draw: Callable[[Image.Image], Image.Image]) -> Image.Image:
    width, height = picture.size
    tall = max(_MARGIN, PIXELS_AT_ONCE // width - 2 * _MARGIN)
    made = Image.new("RGB", picture.size)
    for top in range(0, height, tall):
        first, last = max(0, top - _MARGIN), min(height, top + tall + _MARGIN)
        band = draw(picture.crop((0, first, width, last)))
        bottom = min(height, top + tall)
        made.paste(band.crop((0, top - first, width, bottom - first)), (0, top))
    return made
