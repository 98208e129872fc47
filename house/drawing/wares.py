"""Things to eat, to wear and to give: six kinds of object."""

from __future__ import annotations

import skia

from .paths import INK, LEAF, STEM, WHITE, Part, Vary, box, outline, oval, stroke, union

CLAY = (196, 108, 66)
BAND = (52, 46, 52)
BLOSSOM = (240, 120, 160)


def apple(vary: Vary) -> list[Part]:
    """An apple with its leaf to the right."""
    half = vary(0.88, 0.98)
    top = vary(-0.56, -0.48)
    body = outline(
        (0, top + 0.12),
        (0.24, top - 0.16, half, top - 0.14, half, 0.12),
        (half, 0.6, 0.58, 1.0, 0.34, 1.0),
        (0.18, 1.0, 0.14, 0.9, 0, 0.9),
        (-0.14, 0.9, -0.18, 1.0, -0.34, 1.0),
        (-0.58, 1.0, -half, 0.6, -half, 0.12),
        (-half, top - 0.14, -0.24, top - 0.16, 0, top + 0.12),
    )
    return [
        Part(body, "main", "sphere"),
        Part(stroke(0.14, (0, top + 0.2), (-0.02, -0.7, -0.1, -0.93)), STEM),
        Part(
            outline(
                (0.06, -0.58),
                (0.12, -1.02, 0.5, -1.04, 0.74, -0.96),
                (0.7, -0.6, 0.36, -0.5, 0.06, -0.58),
            ),
            LEAF,
        ),
    ]


def fish(vary: Vary) -> list[Part]:
    """A fish swimming to the left."""
    half = vary(0.54, 0.64)
    spread = vary(0.54, 0.64)
    tail = outline(
        (0.4, 0),
        (0.64, -0.3, 0.78, -spread, 1, -spread),
        (0.86, 0, 1, spread),
        (0.78, spread, 0.64, 0.3, 0.4, 0),
    )
    fins = union(
        outline((-0.4, -half * 0.6), (-0.2, -half - 0.34, 0.3, -half - 0.28), (0.2, -half * 0.5)),
        outline((-0.2, half * 0.6), (0, half + 0.3, 0.3, half + 0.24), (0.24, half * 0.4)),
    )
    body = outline(
        (-1, 0.04),
        (-0.72, -half * 1.34, 0.24, -half * 1.34, 0.64, 0),
        (0.24, half * 1.34, -0.72, half * 1.34, -1, 0.04),
    )
    return [
        Part(tail, "dark"),
        Part(fins, "dark"),
        Part(body, "main", "top"),
        Part(stroke(0.12, (-0.28, -0.26), (-0.1, 0, -0.28, 0.28)), "dark"),
        Part(oval(-0.58, -0.1, 0.17, 0.17), WHITE),
        Part(oval(-0.61, -0.1, 0.1, 0.1), INK),
    ]


def hat(vary: Vary) -> list[Part]:
    """A felt hat with a dented crown, a dark band and a wide brim."""
    half = vary(0.62, 0.7)
    top = vary(-0.46, -0.34)
    crown = outline(
        (-half, 0.7),
        (-half * 0.86, top + 0.2),
        (-half * 0.8, top - 0.18, -half * 0.36, top - 0.12, 0, top),
        (half * 0.36, top - 0.12, half * 0.8, top - 0.18, half * 0.86, top + 0.2),
        (half, 0.7),
    )
    brim = outline(
        (-1.02, 0.42),
        (-0.84, 0.64, 0, 0.66),
        (0.84, 0.64, 1.02, 0.42),
        (1.04, 1, 0, 1),
        (-1.04, 1, -1.02, 0.42),
    )
    band = outline((-half, 0.7), (-half * 0.94, 0.28), (0, 0.4, half * 0.94, 0.28), (half, 0.7))
    return [
        Part(crown, "main", "cylinder"),
        Part(band, BAND),
        Part(brim, "main", "cylinder"),
    ]


def shoe(vary: Vary) -> list[Part]:
    """A sneaker with a white sole, its toe to the right."""
    collar = vary(-0.5, -0.38)
    toe = vary(0.16, 0.26)
    upper = outline(
        (-0.96, 0.84),
        (-0.96, 0.3, -0.86, 0.1, -0.94, collar + 0.1),
        (-0.95, collar - 0.08, -0.76, collar - 0.04),
        (-0.5, collar + 0.16, -0.22, collar),
        (-0.12, collar - 0.08, -0.04, collar + 0.06),
        (0.14, collar + 0.4, 0.34, toe - 0.06, 0.6, toe),
        (0.98, toe + 0.1, 0.98, 0.5, 0.98, 0.84),
    )
    cap = oval(0.9, 0.84, 0.46, 0.62)
    heel = oval(-1, 0.84, 0.46, 0.66)
    laces = union(
        stroke(0.13, (-0.26, collar + 0.46), (0.02, collar + 0.26)),
        stroke(0.13, (-0.04, collar + 0.68), (0.22, collar + 0.48)),
    )
    return [
        Part(upper, "main", "top"),
        Part(_within(upper, cap), "light"),
        Part(_within(upper, heel), "dark"),
        Part(laces, WHITE),
        Part(box(-1, 0.74, 1.02, 1, 0.13), WHITE),
    ]


def _within(shape: skia.Path, piece: skia.Path) -> skia.Path:
    return skia.Op(piece, shape, skia.PathOp.kIntersect_PathOp)


def heart(vary: Vary) -> list[Part]:
    half = vary(0.96, 1.04)
    dip = vary(-0.52, -0.42)
    shape = outline(
        (0, 0.94),
        (-0.16, 0.94, -half, 0.3, -half, -0.28),
        (-half, -0.98, -0.24, -1.1, 0, dip),
        (0.24, -1.1, half, -0.98, half, -0.28),
        (half, 0.3, 0.16, 0.94, 0, 0.94),
    )
    return [Part(shape, "main", "sphere")]


def cactus(vary: Vary) -> list[Part]:
    """A cactus of two arms in a clay pot."""
    half = vary(0.29, 0.34)
    left = vary(-0.16, -0.04)
    right = vary(-0.36, -0.24)
    arms = union(
        stroke(0.34, (0, left + 0.4), (-0.74, left + 0.46, -0.74, left + 0.1), (-0.74, left - 0.3)),
        stroke(
            0.34, (0, right + 0.4), (0.74, right + 0.46, 0.74, right + 0.1), (0.74, right - 0.3)
        ),
    )
    pot = outline((-0.4, 0.6), (0.4, 0.6), (0.32, 1), (-0.32, 1))
    return [
        Part(arms, "dark"),
        Part(box(-half, -0.96, half, 0.7, half), "main", "cylinder"),
        Part(pot, CLAY, "cylinder"),
        Part(box(-0.5, 0.5, 0.5, 0.7, 0.05), CLAY, "cylinder"),
        Part(oval(0, -0.9, 0.18, 0.12), BLOSSOM),
    ]
