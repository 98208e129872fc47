"""Things found indoors: seven kinds of object."""

from __future__ import annotations

import skia

from .paths import (
    CREAM,
    GOLD,
    LEAF,
    STEM,
    Part,
    Vary,
    box,
    circle_point,
    outline,
    oval,
    polygon,
    stroke,
    union,
)

COFFEE = (74, 46, 32)


def mug(vary: Vary) -> list[Part]:
    """A mug of coffee, its handle to the right."""
    right = vary(0.34, 0.46)
    top = vary(-0.78, -0.62)
    middle, half = (right - 1) / 2, (right + 1) / 2
    handle = stroke(
        0.21, (right - 0.1, top + 0.42), (1.02, top + 0.36, 1.06, 0.72, right - 0.12, 0.62)
    )
    body = outline(
        (-1, top),
        (right, top),
        (right - 0.02, 0.7),
        (right - 0.05, 1, right - 0.35, 1),
        (-0.65, 1),
        (-0.95, 1, -0.98, 0.7),
    )
    return [
        Part(handle, "dark"),
        Part(body, "main", "cylinder"),
        Part(oval(middle, top, half, 0.2), "light"),
        Part(oval(middle, top + 0.02, half - 0.13, 0.12), COFFEE),
    ]


def bottle(vary: Vary) -> list[Part]:
    """A wine bottle with a paper label."""
    belly = vary(0.46, 0.54)
    neck = vary(0.17, 0.21)
    shoulder = vary(-0.3, -0.14)
    body = outline(
        (-neck, -0.9),
        (neck, -0.9),
        (neck, shoulder - 0.2),
        (neck, shoulder + 0.04, belly, shoulder, belly, shoulder + 0.4),
        (belly, 0.88),
        (belly, 1, belly - 0.12, 1),
        (0.12 - belly, 1),
        (-belly, 1, -belly, 0.88),
        (-belly, shoulder + 0.4),
        (-belly, shoulder, -neck, shoulder + 0.04, -neck, shoulder - 0.2),
    )
    return [
        Part(body, "main", "cylinder"),
        Part(box(-neck - 0.06, -1, neck + 0.06, -0.74, 0.06), "dark", "cylinder"),
        Part(box(-belly, 0.28, belly, 0.7, 0.01), CREAM, "cylinder"),
    ]


def lamp(vary: Vary) -> list[Part]:
    """A table lamp: a straight cone of a shade on a slim foot."""
    wide = vary(0.78, 0.92)
    narrow = vary(0.36, 0.46)
    hem = vary(0.1, 0.2)
    shade = outline((-narrow, -1), (0, -0.94, narrow, -1), (wide, hem), (0, hem + 0.14, -wide, hem))
    foot = outline(
        (-0.5, 1), (-0.5, 0.74, -0.1, 0.78, -0.1, 0.6), (0.1, 0.6), (0.1, 0.78, 0.5, 0.74, 0.5, 1)
    )
    return [
        Part(box(-0.1, hem - 0.1, 0.1, 0.8, 0.02), GOLD, "cylinder"),
        Part(foot, GOLD, "cylinder"),
        Part(shade, "main", "cylinder"),
    ]


def chair(vary: Vary) -> list[Part]:
    """A dining chair seen from the front and a little above."""
    half = vary(0.52, 0.6)
    seat = vary(-0.12, -0.02)
    front = half + 0.12
    back = union(
        box(-half, -1, half, vary(-0.56, -0.48), 0.18),
        box(-half, -0.8, 0.22 - half, seat + 0.1, 0.04),
        box(half - 0.22, -0.8, half, seat + 0.1, 0.04),
    )
    legs_behind = union(
        box(0.16 - half, seat, 0.34 - half, 0.84, 0.04),
        box(half - 0.34, seat, half - 0.16, 0.84, 0.04),
    )
    legs = union(
        box(-front, seat + 0.3, 0.2 - front, 1, 0.06),
        box(front - 0.2, seat + 0.3, front, 1, 0.06),
    )
    return [
        Part(legs_behind, "dark"),
        Part(back, "main", "top"),
        Part(legs, "main"),
        Part(
            polygon((-half, seat), (half, seat), (front, seat + 0.24), (-front, seat + 0.24)),
            "light",
        ),
        Part(box(-front - 0.04, seat + 0.22, front + 0.04, seat + 0.42, 0.08), "main"),
    ]


def vase(vary: Vary) -> list[Part]:
    """A high-shouldered vase of three sunflowers."""
    belly = vary(0.62, 0.72)
    neck = vary(0.25, 0.31)
    lip = neck + 0.15
    body = outline(
        (-lip, -0.34),
        (lip, -0.34),
        (neck - 0.02, -0.22, neck, -0.08),
        (belly, -0.02, belly, 0.26),
        (belly, 0.62, 0.42, 0.72, 0.4, 1),
        (-0.4, 1),
        (-0.42, 0.72, -belly, 0.62, -belly, 0.26),
        (-belly, -0.02, -neck, -0.08),
        (0.02 - neck, -0.22, -lip, -0.34),
    )
    side = vary(0.48, 0.56)
    leaves = union(oval(-0.22, -0.44, 0.28, 0.2), oval(0.22, -0.44, 0.28, 0.2))
    flowers = [(-side, -0.55), (side, -0.55), (0.0, -0.74)]
    return [
        Part(leaves, LEAF),
        Part(union(*(_petals(x, y) for x, y in flowers)), GOLD),
        Part(union(*(oval(x, y, 0.12, 0.12) for x, y in flowers)), STEM),
        Part(body, "main", "cylinder"),
        Part(box(-lip, -0.4, lip, -0.23, 0.06), "dark", "cylinder"),
    ]


def _petals(x: float, y: float) -> skia.Path:
    around = [circle_point(0.18, turn / 7) for turn in range(7)]
    return union(oval(x, y, 0.2, 0.2), *(oval(x + dx, y + dy, 0.1, 0.1) for dx, dy in around))


def umbrella(vary: Vary) -> list[Part]:
    """An open umbrella in three panels, its crook to the right."""
    top = vary(-0.9, -0.8)
    hem = vary(0.0, 0.1)
    inner = vary(0.34, 0.4)
    stick = stroke(0.13, (0, top - 0.06), (0, 0.74), (0, 0.94, 0.2, 0.94), (0.4, 0.94, 0.4, 0.72))
    canopy = outline(
        (-1, hem),
        (-1, -0.56, -0.5, top, 0, top),
        (0.5, top, 1, -0.56, 1, hem),
        ((1 + inner) / 2, hem - 0.24, inner, hem),
        (0, hem - 0.24, -inner, hem),
        ((-1 - inner) / 2, hem - 0.24, -1, hem),
    )
    panel = outline(
        (-inner, hem),
        (-inner, -0.5, 0, top),
        (inner, -0.5, inner, hem),
        (0, hem - 0.24, -inner, hem),
    )
    return [Part(stick, STEM), Part(canopy, "main", "cylinder"), Part(panel, "light")]


def teapot(vary: Vary) -> list[Part]:
    """A round teapot, its spout to the left and its handle to the right."""
    half = vary(0.64, 0.7)
    top = vary(-0.4, -0.3)
    handle = stroke(0.18, (half - 0.14, 0), (1.14, -0.24, 1.1, 0.74, half - 0.14, 0.66))
    spout = outline(
        (-half + 0.2, 0.06),
        (-0.66, 0.1, -0.62, -0.26, -0.76, -0.36),
        (-1.04, -0.2),
        (-0.9, 0, -1, 0.6, -half + 0.2, 0.76),
    )
    body = union(oval(0, (top + 1) / 2, half, (1 - top) / 2), box(-0.4, 0.84, 0.4, 1, 0.06))
    lid = outline(
        (-0.38, top + 0.14),
        (-0.34, top - 0.16, 0, top - 0.16),
        (0.34, top - 0.16, 0.38, top + 0.14),
    )
    return [
        Part(handle, "dark"),
        Part(spout, "dark"),
        Part(body, "main", "sphere"),
        Part(lid, "light"),
        Part(oval(0, top - 0.22, 0.14, 0.14), "dark"),
    ]
