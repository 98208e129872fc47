"""Things found out of doors: eight kinds of object."""

from __future__ import annotations

import skia

from .paths import (
    CREAM,
    GLASS,
    INK,
    STEEL,
    STEM,
    WHITE,
    Part,
    Vary,
    box,
    circle_point,
    outline,
    oval,
    pen,
    polygon,
    stroke,
    union,
)

TYRE = (44, 44, 50)
HEADLIGHT = (255, 240, 176)
FLAME = (255, 164, 52)
STRING = (104, 104, 114)


def car(vary: Vary) -> list[Part]:
    """A small round-backed car driving to the right."""
    top = vary(-0.5, -0.4)
    wheel = vary(0.25, 0.28)
    pillar = vary(-0.02, 0.06)
    body = outline(
        (-0.9, 0.82),
        (-1, 0.82, -1, 0.7),
        (-1, 0.3),
        (-0.98, top, -0.5, top, -0.3, top),
        (0.05, top),
        (0.34, top, 0.42, -0.1, 0.54, 0.1),
        (0.98, 0.16, 1, 0.34, 1, 0.7),
        (1, 0.82, 0.9, 0.82),
    )
    rear = outline(
        (-0.76, 0.12),
        (-0.72, top + 0.17, -0.4, top + 0.16),
        (pillar - 0.08, top + 0.16),
        (pillar - 0.08, 0.12),
    )
    front = outline(
        (pillar + 0.08, 0.12), (pillar + 0.08, top + 0.16), (0.28, top + 0.16, 0.37, 0.12)
    )
    wheels = ((-0.54, 1 - wheel), (0.54, 1 - wheel))
    return [
        Part(body, "main", "top"),
        Part(rear, GLASS),
        Part(front, GLASS),
        Part(oval(0.88, 0.4, 0.11, 0.13), HEADLIGHT),
        Part(union(*(oval(x, y, wheel, wheel) for x, y in wheels)), TYRE),
        Part(union(*(oval(x, y, wheel * 0.48, wheel * 0.48) for x, y in wheels)), STEEL),
    ]


def house(vary: Vary) -> list[Part]:
    """A cottage: pale walls under a large roof of the named colour."""
    wall = vary(0.74, 0.82)
    eaves = vary(0.04, 0.14)
    door = vary(0.24, 0.28)
    roof = _rounded(polygon((-0.94, eaves), (0, -0.93), (0.94, eaves)), 0.12)
    return [
        Part(box(0.36, -0.9, 0.66, 0, 0.03), "dark"),
        Part(box(-wall, eaves - 0.1, wall, 1, 0.02), CREAM, "top"),
        Part(roof, "main", "top"),
        Part(box(-0.06 - door, eaves + 0.26, door - 0.06, 1, 0.04), "main", "top"),
        Part(box(door + 0.06, eaves + 0.26, wall - 0.1, eaves + 0.58, 0.04), GLASS),
    ]


def tree(vary: Vary) -> list[Part]:
    """A fir of three tiers."""
    wide = vary(0.76, 0.88)
    trunk = vary(0.14, 0.18)
    tiers = ((-0.14, 0.66, wide), (-0.52, 0.26, wide * 0.82), (-0.96, -0.18, wide * 0.62))
    firs = [
        _rounded(outline((-half, low), (0, top), (half, low), (0, low + 0.14, -half, low)), 0.08)
        for top, low, half in tiers
    ]
    return [
        Part(box(-trunk, 0.6, trunk, 1, 0.04), STEM, "cylinder"),
        Part(firs[0], "dark"),
        Part(firs[1], "main"),
        Part(firs[2], "light"),
    ]


def boat(vary: Vary) -> list[Part]:
    """A sailing boat with its bow to the right."""
    deck = vary(0.36, 0.44)
    stern = vary(-0.88, -0.78)
    jib = vary(0.68, 0.78)
    hull = outline(
        (-1, deck),
        (1, deck - 0.08),
        (0.92, 0.8, 0.66, 1, 0.4, 1),
        (-0.5, 1),
        (-0.86, 1, -0.94, 0.7, -1, deck),
    )
    return [
        Part(box(-0.06, -1, 0.1, 0.5, 0.04), STEM),
        Part(
            outline((-0.06, -0.94), (-0.56, -0.4, stern, deck - 0.16), (-0.06, deck - 0.16)), CREAM
        ),
        Part(outline((0.1, -0.84), (0.62, -0.4, jib, deck - 0.16), (0.1, deck - 0.16)), "light"),
        Part(hull, "main", "top"),
    ]


def rocket(vary: Vary) -> list[Part]:
    """A rocket in flight, straight up."""
    half = vary(0.4, 0.48)
    span = vary(0.74, 0.86)
    hull = outline(
        (0, -1),
        (half * 1.1, -0.66, half * 1.3, 0.06, half * 0.7, 0.62),
        (-half * 0.7, 0.62),
        (-half * 1.3, 0.06, -half * 1.1, -0.66, 0, -1),
    )
    fins = union(_fin(half, span), _fin(-half, -span))
    return [
        Part(outline((-0.22, 0.56), (-0.26, 0.8, 0, 1), (0.26, 0.8, 0.22, 0.56)), FLAME),
        Part(fins, "dark"),
        Part(hull, "main", "cylinder"),
        Part(oval(0, -0.2, 0.24, 0.24), STEEL),
        Part(oval(0, -0.2, 0.15, 0.15), GLASS),
    ]


def _fin(root: float, tip: float) -> skia.Path:
    return outline((root * 0.8, 0), (tip, 0.24, tip, 0.82), (tip * 0.8, 0.62, root * 0.5, 0.6))


def balloon(vary: Vary) -> list[Part]:
    """A toy balloon on a string."""
    half = vary(0.64, 0.72)
    low = vary(0.3, 0.38)
    swing = vary(0.2, 0.3)
    skin = outline(
        (0, low),
        (-0.3, low - 0.02, -half, 0, -half, -0.38),
        (-half, -1.22, half, -1.2, half, -0.38),
        (half, 0, 0.3, low - 0.02, 0, low),
    )
    return [
        Part(
            stroke(
                0.1, (0, low), (swing, low + 0.24, 0, low + 0.34), (-swing, low + 0.46, 0.04, 0.95)
            ),
            STRING,
        ),
        Part(
            _rounded(polygon((0, low - 0.06), (0.14, low + 0.12), (-0.14, low + 0.12)), 0.06),
            "dark",
        ),
        Part(skin, "main", "sphere"),
    ]


def mushroom(vary: Vary) -> list[Part]:
    """A toadstool with white spots."""
    half = vary(0.92, 1.0)
    rim = vary(0.2, 0.3)
    stalk = vary(0.28, 0.34)
    stem = outline(
        (-stalk, 0.1),
        (stalk, 0.1),
        (stalk - 0.02, 0.6, stalk + 0.12, 0.88),
        (stalk + 0.12, 1, stalk - 0.04, 1),
        (0.04 - stalk, 1),
        (-stalk - 0.12, 1, -stalk - 0.12, 0.88),
        (0.02 - stalk, 0.6, -stalk, 0.1),
    )
    cap = outline(
        (-half, rim - 0.1),
        (-half, -1.37, half, -1.37, half, rim - 0.1),
        (half, rim + 0.1, half * 0.6, rim + 0.1),
        (-half * 0.6, rim + 0.1),
        (-half, rim + 0.1, -half, rim - 0.1),
    )
    spots = ((-0.5, -0.16, 0.17), (0.02, -0.52, 0.19), (0.5, -0.1, 0.17))
    return [
        Part(stem, CREAM, "cylinder"),
        Part(cap, "main", "sphere"),
        Part(union(*(oval(x * half, y, size, size) for x, y, size in spots)), WHITE),
    ]


def star(vary: Vary) -> list[Part]:
    """A plump star of five points."""
    inner = vary(0.48, 0.56)
    corners = [
        circle_point(0.96 if corner % 2 == 0 else inner, corner / 10) for corner in range(10)
    ]
    return [Part(_rounded(polygon(*((x, y + 0.08) for x, y in corners)), 0.18), "main", "top")]


def _rounded(shape: skia.Path, width: float) -> skia.Path:
    """The shape grown by half of `width` all round, which rounds its corners."""
    rim = skia.Path()
    pen(INK, width).getFillPath(shape, rim)
    return union(shape, rim)
