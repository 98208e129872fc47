"""Poses as ControlNets read them: a stick figure in the colors of OpenPose, on black. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Color = tuple[int, int, int]

# Where OpenPose's joints are among COCO's 17, in its order; the second, the neck, lies between the
# shoulders.
_NECK = -1
_FROM_COCO = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_SHOULDERS = (5, 6)
# Limbs by the joints at their ends, in the order in which OpenPose draws and colors them.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLORS: tuple[Color, ...] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMB_SHARE = 0.6  # of a color, so that joints stand out
# Half the width of a limb and the radius of a joint, at 512 pixels of the shorter side.
_HALF_WIDTH, _SIDE, _THINNEST = 4.0, 512, 1.5
_CORNERS = 48


def to_openpose(coco: Sequence[Point | None]) -> list[Point | None]:
    """The 18 joints of OpenPose, of the 17 of COCO; None where one is not seen."""
    left, right = (coco[number] for number in _SHOULDERS)
    neck = None
    if left is not None and right is not None:
        neck = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    return [neck if number == _NECK else coco[number] for number in _FROM_COCO]


def draw_skeleton(joints: Sequence[Point | None], size: tuple[int, int]) -> Image.Image:
    """One figure of OpenPose's joints, in pixels of a picture of this size."""
    picture = Image.new("RGB", size)
    draw = ImageDraw.Draw(picture)
    half = max(_THINNEST, _HALF_WIDTH * min(size) / _SIDE)
    for (first, second), color in zip(LIMBS, COLORS, strict=False):
        start, end = joints[first], joints[second]
        if start is not None and end is not None:
            red, green, blue = (int(part * LIMB_SHARE) for part in color)
            draw.polygon(_ellipse(start, end, half), fill=(red, green, blue))
    for joint, color in zip(joints, COLORS, strict=True):
        if joint is not None:
            x, y = joint
            draw.ellipse((x - half, y - half, x + half, y + half), fill=color)
    return picture


def _ellipse(start: Point, end: Point, half: float) -> list[Point]:
    """A limb: as long as from one joint to the other, and so wide in its middle."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    length = math.dist(start, end) / 2
    turn = math.atan2(end[1] - start[1], end[0] - start[0])
    cosine, sine = math.cos(turn), math.sin(turn)
    corners = []
    for corner in range(_CORNERS):
        angle = 2 * math.pi * corner / _CORNERS
        along, across = length * math.cos(angle), half * math.sin(angle)
        corners.append(
            (
                middle[0] + along * cosine - across * sine,
                middle[1] + along * sine + across * cosine,
            )
        )
    return corners
