"""Shapes for the drawing program, thin helpers over Skia paths.

An object lives in the box [-1, 1] × [-1, 1]: x to the right, y down, standing on y = 1. A unit is
about forty pixels of a picture of 128, and the model's latents have cells of eight: a detail
smaller than 0.15 units is lost on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import skia

RGB = tuple[int, int, int]
Point = tuple[float, float]
# A step of an outline: a line to a point, a quadratic curve (control, end) or a cubic one (control,
# control, end).
Step = tuple[float, ...]
# Draws a number between two bounds; every varying measure of a shape goes through it.
Vary = Callable[[float, float], float]

# What a part is painted with: a tone of the object's own colour, or a fixed colour.
Tone = Literal["main", "dark", "light"]
# How light falls on it: round like a cylinder or a ball, from above, or not at all.
Shading = Literal["cylinder", "sphere", "top", "plain"]

WHITE: RGB = (255, 255, 255)
INK: RGB = (14, 14, 22)
GOLD: RGB = (222, 178, 80)
TIMBER: RGB = (139, 92, 52)
LEAF: RGB = (70, 150, 70)
STEM: RGB = (96, 66, 40)
STEEL: RGB = (150, 158, 170)
CREAM: RGB = (245, 236, 214)
GLASS: RGB = (178, 216, 238)


@dataclass(frozen=True)
class Part:
    """One piece of an object, painted in the order given."""

    path: skia.Path
    paint: Tone | RGB = "main"
    shading: Shading = "plain"


def polygon(*points: Point) -> skia.Path:
    """A closed shape with straight sides."""
    return outline(points[0], *points[1:])


def outline(start: Point, *steps: Step) -> skia.Path:
    """A closed shape of lines and curves."""
    path = _trace(start, steps)
    path.close()
    return path


def oval(x: float, y: float, rx: float, ry: float) -> skia.Path:
    """An ellipse round (x, y)."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
    return path


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.08) -> skia.Path:
    """A rectangle with round corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect.MakeLTRB(left, top, right, bottom), radius, radius)
    return path


def stroke(width: float, start: Point, *steps: Step) -> skia.Path:
    """The outline of a line drawn with a round pen."""
    filled = skia.Path()
    pen(INK, width).getFillPath(_trace(start, steps), filled)
    return filled


def union(first: skia.Path, *others: skia.Path) -> skia.Path:
    """One shape that covers what all of them cover."""
    for other in others:
        first = skia.Op(first, other, skia.PathOp.kUnion_PathOp)
    return first


def circle_point(radius: float, turn: float) -> Point:
    """The point at `turn` (of one) clockwise from the top of a circle round the origin."""
    angle = 2 * math.pi * turn
    return radius * math.sin(angle), -radius * math.cos(angle)


def pen(colour: RGB, width: float, alpha: int = 255) -> skia.Paint:
    """A round pen."""
    return skia.Paint(
        AntiAlias=True,
        Color=skia.Color(*colour, alpha),
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeJoin=skia.Paint.kRound_Join,
        StrokeCap=skia.Paint.kRound_Cap,
    )


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`first` with `share` (0 to 1) of `second` in it."""
    return (
        round(first[0] * (1 - share) + second[0] * share),
        round(first[1] * (1 - share) + second[1] * share),
        round(first[2] * (1 - share) + second[2] * share),
    )


def _trace(start: Point, steps: tuple[Step, ...]) -> skia.Path:
    path = skia.Path()
    path.moveTo(*start)
    for step in steps:
        {2: path.lineTo, 4: path.quadTo, 6: path.cubicTo}[len(step)](*step)
    return path
