"""The part of a recipe that asks for a larger picture. Pure."""

from __future__ import annotations

SCALES = (2, 4)
# Of what is made by upscaling: no more than can be added as a starting picture.
UPSCALED_SIDE_MAX, UPSCALED_PIXELS_MAX = 8_192, 64_000_000


def can_become(width: int, height: int, scale: int) -> bool:
    """Whether a picture of this size may be enlarged so much."""
    wide, tall = width * scale, height * scale
    return max(wide, tall) <= UPSCALED_SIDE_MAX and wide * tall <= UPSCALED_PIXELS_MAX
