"""The ten backdrops, each in a soft look (gradients, glows) and a flat one (plain tones).

A scene is drawn on a square of 128 units and scaled to the picture. Nothing in it is finer than
about four units, and its middle stays calm: an object stands there, a little below the horizon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import skia

from house.drawing.paths import INK, RGB, WHITE, Vary, box, mix, outline, oval, polygon, union

SIDE = 128
MIDDLE = SIDE / 2


@dataclass(frozen=True)
class Stage:
    """The square picture a scene fills."""

    size: int
    horizon: float  # pixels from the top
    soft: bool  # like a photo; otherwise flat


Scene = Callable[[skia.Canvas, Stage, Vary], None]


def _scaled(scene: Scene) -> Scene:
    """The scene for a picture of any size, from one drawn on a square of SIDE units."""

    def draw(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
        unit = stage.size / SIDE
        canvas.save()
        canvas.scale(unit, unit)
        scene(canvas, Stage(SIDE, stage.horizon / unit, stage.soft), vary)
        canvas.restore()

    return draw


# ---- tones and light ----


def _near(colour: RGB, vary: Vary, spread: float = 0.06) -> RGB:
    """The colour, a little lighter or darker."""
    share = vary(-spread, spread)
    return mix(colour, WHITE if share > 0 else INK, abs(share))


def _side(vary: Vary, near: float, far: float) -> float:
    """A place between `near` and `far` units from the left edge, or from the right one."""
    inset = vary(near, far)
    return inset if vary(0, 1) < 0.5 else SIDE - inset


def _area(canvas: skia.Canvas, stage: Stage, path: skia.Path, upper: RGB, lower: RGB) -> None:
    """Fill a shape: from its upper to its lower colour when soft, with one tone when flat."""
    bounds = path.getBounds()
    canvas.drawPath(path, _falling(stage, bounds.top(), bounds.bottom(), upper, lower))


def _band(
    canvas: skia.Canvas, stage: Stage, top: float, bottom: float, upper: RGB, lower: RGB
) -> None:
    """Fill the whole width from a height downwards, for the next band to cover."""
    canvas.drawRect(
        skia.Rect.MakeLTRB(0, top, SIDE, SIDE), _falling(stage, top, bottom, upper, lower)
    )


def _falling(stage: Stage, top: float, bottom: float, upper: RGB, lower: RGB) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True, Color=skia.Color(*mix(upper, lower, 0.5)))
    if stage.soft:
        ends = [skia.Point(0, top), skia.Point(0, bottom)]
        paint.setShader(
            skia.GradientShader.MakeLinear(ends, [skia.Color(*upper), skia.Color(*lower)])
        )
    return paint


def _blurred(canvas: skia.Canvas, path: skia.Path, colour: RGB, alpha: int, blur: float) -> None:
    """A shape with soft edges."""
    soften = skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur)
    canvas.drawPath(
        path, skia.Paint(AntiAlias=True, Color=skia.Color(*colour, alpha), MaskFilter=soften)
    )


def _radial(
    canvas: skia.Canvas, x: float, y: float, radius: float, stops: tuple[tuple[RGB, int], ...]
) -> None:
    """Lay light or shade over the picture, with even stops from (x, y) to the radius."""
    colours = [skia.Color(*colour, alpha) for colour, alpha in stops]
    shader = skia.GradientShader.MakeRadial(skia.Point(x, y), radius, colours)
    canvas.drawRect(skia.Rect.MakeWH(SIDE, SIDE), skia.Paint(Shader=shader))


def _glow(canvas: skia.Canvas, x: float, y: float, radius: float, colour: RGB, alpha: int) -> None:
    """Light that fades outwards, ever more slowly."""
    _radial(
        canvas,
        x,
        y,
        radius,
        tuple((colour, round(alpha * (1 - step / 6) ** 2)) for step in range(7)),
    )


def _vignette(canvas: skia.Canvas, stage: Stage, colour: RGB, alpha: int) -> None:
    """Darken the corners of a soft picture, as a lens does."""
    if stage.soft:
        _radial(
            canvas,
            MIDDLE,
            MIDDLE - 4,
            98,
            tuple((colour, round(alpha * (step / 8) ** 3)) for step in range(9)),
        )


# ---- things far away ----


def _cloud(canvas: skia.Canvas, stage: Stage, x: float, y: float, scale: float) -> None:
    """A round white cloud about thirty units wide."""
    puffs = (oval(-9, 1, 8, 5.5), oval(0, -3, 9.5, 9.5), oval(10, 0.5, 8, 6.5))
    shape = union(
        polygon((-12, 0), (12, 0), (12, 7), (-12, 7)), *puffs, oval(-12, 3, 5, 4), oval(12, 3, 5, 4)
    )
    canvas.save()
    canvas.translate(x, y)
    canvas.scale(scale, scale)
    if stage.soft:
        _blurred(canvas, shape, (196, 216, 238), 255, 2)
        canvas.translate(-0.6, -1.6)
        _blurred(canvas, union(*puffs), WHITE, 250, 1.8)
    else:
        _area(canvas, stage, shape, WHITE, WHITE)
    canvas.restore()


def _rise(left: float, middle: float, right: float, bottom: float) -> skia.Path:
    """Land with a curved upper edge: its height at the left, in the middle, at the right."""
    crest = 2 * middle - (left + right) / 2
    return outline((0, left), (MIDDLE, crest, SIDE, right), (SIDE, bottom), (0, bottom))


def _fir(x: float, foot: float, width: float, height: float) -> skia.Path:
    """A fir of two tiers."""
    top, waist, half = foot - height, foot - height * 0.42, width / 2
    crown = polygon((x, top), (x + half * 0.78, waist), (x - half * 0.78, waist))
    skirt = polygon((x, top + height * 0.2), (x + half, foot), (x - half, foot))
    return union(crown, skirt)


# ---- the scenes ----


def _studio(wall: RGB, floor: RGB) -> Scene:
    """A paper backdrop that runs from the wall onto the floor."""

    def draw(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
        shift, horizon, light = vary(-0.02, 0.08), stage.horizon, vary(36, 92)
        back, ground = (
            mix(tone, WHITE if shift > 0 else INK, abs(shift)) for tone in (wall, floor)
        )
        if not stage.soft:
            _band(canvas, stage, 0, SIDE, back, back)
            _area(canvas, stage, _rise(horizon - 3, horizon, horizon - 3, SIDE), ground, ground)
            return
        _band(canvas, stage, 0, SIDE, mix(back, ground, 0.6), back)
        _glow(canvas, light, horizon * 0.45, 100, mix(back, WHITE, 0.75), 230)
        _sweep(canvas, horizon, ground)
        _glow(canvas, MIDDLE, SIDE + 4, 70, mix(ground, WHITE, 0.5), 110)
        _vignette(canvas, stage, mix(ground, INK, 0.4), 75)

    return draw


def _sweep(canvas: skia.Canvas, horizon: float, ground: RGB) -> None:
    """The floor of a paper backdrop, coming in gently round the horizon."""
    shares = [step / 8 for step in range(9)]
    shades = [skia.Color(*ground, round(255 * share * share * (3 - 2 * share))) for share in shares]
    ends = [skia.Point(0, horizon - 14), skia.Point(0, horizon + 10)]
    shader = skia.GradientShader.MakeLinear(ends, shades)
    canvas.drawRect(skia.Rect.MakeWH(SIDE, SIDE), skia.Paint(Shader=shader))


def _wood(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """A table top of wide boards in front of a warm wall."""
    horizon, wall = stage.horizon, _near((240, 220, 188), vary)
    _band(canvas, stage, 0, horizon, mix(wall, (196, 160, 120), 0.3), wall)
    if stage.soft:
        _glow(canvas, vary(20, 108), 20, 96, (255, 248, 230), 230)
    board = _near((176, 112, 62), vary, 0.1)
    _band(canvas, stage, horizon, SIDE, board, board)
    vanish, slide = vary(54, 74), vary(-9, 9)
    for index in range(-1, 5):
        left, right = -62 + slide + 63 * index, 1 + slide + 63 * index
        depth = 0.36  # how much narrower the boards are at the horizon
        far = [vanish + (x - vanish) * depth for x in (left, right)]
        tone = mix(board, INK, 0.14) if index % 2 else mix(board, (255, 214, 150), 0.14)
        plank = polygon((far[0], horizon), (far[1], horizon), (right, SIDE), (left, SIDE))
        _area(canvas, stage, plank, mix(tone, (255, 224, 176), 0.16), mix(tone, INK, 0.12))
    edge = mix(board, INK, 0.42)
    if stage.soft:
        _blurred(canvas, box(-8, horizon - 1, SIDE + 8, horizon + 1), edge, 130, 2)
    _vignette(canvas, stage, (50, 26, 10), 150)


def _grass(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """A meadow with a hill under a blue sky."""
    horizon, slope, left = stage.horizon, vary(-8, 8), vary(22, 34)
    _band(canvas, stage, 0, horizon, _near((62, 146, 232), vary), (186, 224, 250))
    hill, meadow = _near((88, 166, 122), vary), _near((124, 200, 66), vary)
    back = _rise(horizon - 6 + slope, horizon - 10, horizon - 6 - slope, SIDE)
    _area(canvas, stage, back, hill, mix(hill, INK, 0.12))
    front = _rise(horizon + 1 - slope / 3, horizon, horizon + 1 + slope / 3, SIDE)
    _area(canvas, stage, front, mix(meadow, (220, 240, 120), 0.3), mix(meadow, (16, 90, 40), 0.42))
    _vignette(canvas, stage, (8, 40, 60), 110)
    if stage.soft:
        _glow(canvas, _side(vary, 0, 20), 0, 84, (240, 250, 255), 210)
    _cloud(canvas, stage, left, vary(16, 24), vary(0.85, 1.1))
    if vary(0, 1) < 0.6:
        _cloud(canvas, stage, left + vary(62, 74), vary(24, 34), vary(0.65, 0.85))


def _beach(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """Sand in front of a band of sea."""
    horizon, tide = stage.horizon, vary(-2.5, 2.5)
    sea = horizon - vary(17, 21)
    _band(canvas, stage, 0, sea, _near((84, 184, 244), vary), (222, 244, 252))
    _band(canvas, stage, sea, horizon + 4, (14, 112, 176), (84, 212, 214))
    foam = _rise(horizon - 4 + tide, horizon - 2, horizon - 4 - tide, SIDE)
    if stage.soft:
        _blurred(canvas, foam, WHITE, 220, 1.6)
    else:
        _area(canvas, stage, foam, WHITE, WHITE)
    sand = _near((248, 220, 158), vary, 0.04)
    shore = _rise(horizon + tide, horizon + 2, horizon - tide, SIDE)
    _area(canvas, stage, shore, mix(sand, (196, 150, 96), 0.22), mix(sand, (255, 240, 200), 0.22))
    _vignette(canvas, stage, (72, 60, 60), 70)
    if stage.soft:
        _glow(canvas, _side(vary, 4, 28), 6, 66, (255, 255, 246), 250)


def _night(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """A big moon and a few stars over dark land."""
    horizon, slope = stage.horizon, vary(-5, 5)
    sky = _near((31, 40, 95), vary)
    _band(canvas, stage, 0, horizon, mix(sky, (4, 6, 30), 0.6), mix(sky, (96, 118, 210), 0.34))
    far = _rise(horizon - 5 + slope, horizon - 9, horizon - 5 - slope, SIDE)
    _area(canvas, stage, far, (52, 62, 128), (34, 42, 96))
    _area(canvas, stage, _rise(horizon + 2, horizon, horizon + 2, SIDE), (40, 50, 88), (10, 14, 34))
    _vignette(canvas, stage, (2, 2, 14), 150)
    _moon_and_stars(canvas, stage, vary, mix(sky, (150, 170, 240), 0.22))


def _moon_and_stars(canvas: skia.Canvas, stage: Stage, vary: Vary, halo: RGB) -> None:
    moon_x, moon_y, radius = _side(vary, 22, 34), vary(23, 30), vary(11, 14)
    if stage.soft:
        _glow(canvas, moon_x, moon_y, 76, (176, 194, 255), 255)
    else:
        _area(canvas, stage, oval(moon_x, moon_y, radius + 8, radius + 8), halo, halo)
    for index in range(6):
        x, y = 10 + 20 * index + vary(0, 9), vary(6, stage.horizon * 0.62)
        if (x - moon_x) ** 2 + (y - moon_y) ** 2 > (radius + 12) ** 2:
            _star(canvas, stage, x, y, vary(1.6, 2.3))
    _area(canvas, stage, oval(moon_x, moon_y, radius, radius), (255, 254, 240), (246, 226, 178))


def _star(canvas: skia.Canvas, stage: Stage, x: float, y: float, radius: float) -> None:
    if stage.soft:
        _blurred(canvas, oval(x, y, radius * 1.6, radius * 1.6), (190, 206, 255), 120, 1.6)
    _area(canvas, stage, oval(x, y, radius, radius), WHITE, (255, 244, 204))


def _sunset(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """Half a large sun on the horizon."""
    horizon, sun_x, radius = stage.horizon, _side(vary, 22, 40), vary(20, 26)
    dusk, rose, amber = _near((92, 54, 142), vary), (232, 92, 112), (255, 184, 96)
    if stage.soft:
        _band(canvas, stage, 0, horizon * 0.55, dusk, rose)
        _band(canvas, stage, round(horizon * 0.55), horizon, rose, amber)
        _vignette(canvas, stage, (24, 6, 60), 130)
        _glow(canvas, sun_x, horizon, 96, (255, 230, 136), 255)
    else:
        _band(canvas, stage, 0, horizon, mix(dusk, rose, 0.3), mix(dusk, rose, 0.3))
        for reach, tone in ((60, mix(dusk, rose, 0.85)), (35, mix(rose, amber, 0.6))):
            _area(
                canvas,
                stage,
                oval(sun_x, horizon, radius + reach, radius + reach * 0.8),
                tone,
                tone,
            )
    _area(canvas, stage, oval(sun_x, horizon, radius, radius), (255, 250, 204), (255, 214, 110))
    _band(canvas, stage, horizon, SIDE, (92, 44, 98), (36, 18, 58))
    if stage.soft:
        canvas.save()
        canvas.clipRect(skia.Rect.MakeLTRB(0, horizon, SIDE, SIDE), True)
        _glow(canvas, sun_x, horizon, 70, (255, 140, 100), 215)
        canvas.restore()


def _snow(canvas: skia.Canvas, stage: Stage, vary: Vary) -> None:
    """White land with firs far away and a few large flakes."""
    horizon, sky = stage.horizon, _near((164, 198, 230), vary, 0.05)
    _band(canvas, stage, 0, horizon, mix(sky, (110, 150, 206), 0.3), mix(sky, WHITE, 0.5))
    first, second = vary(8, 16), vary(108, 118)
    for x, grow in ((first, 1.0), (first + vary(17, 20), 0.72), (second, 0.9)):
        fir, tone = _fir(x, horizon + 2, 22 * grow, vary(34, 40) * grow), (84, 132, 140)
        _area(
            canvas,
            stage,
            fir,
            mix(tone, WHITE, 0.14),
            mix(tone, WHITE, 0.3 if stage.soft else 0.14),
        )
    if stage.soft:
        _blurred(canvas, box(-20, horizon - 6, SIDE + 20, horizon + 4), WHITE, 130, 5)
    for index in range(6):
        x, y, radius = 8 + 20 * index + vary(0, 12), vary(6, horizon * 0.72), vary(2.4, 3.2)
        if stage.soft:
            _blurred(canvas, oval(x, y, radius, radius), WHITE, 255, 0.9)
        else:
            _area(canvas, stage, oval(x, y, radius, radius), WHITE, WHITE)
    drift = vary(-2.5, 2.5)
    land = _rise(horizon + drift, horizon - 1, horizon - drift, SIDE)
    _area(canvas, stage, land, (252, 254, 255), (214, 228, 244) if stage.soft else (246, 250, 255))
    _vignette(canvas, stage, (60, 90, 140), 90)


SCENES: dict[str, Scene] = {
    "white": _scaled(_studio((251, 251, 252), (233, 234, 238))),
    "gray": _scaled(_studio((158, 160, 164), (122, 124, 129))),
    "wood": _scaled(_wood),
    "grass": _scaled(_grass),
    "beach": _scaled(_beach),
    "night": _scaled(_night),
    "sunset": _scaled(_sunset),
    "snow": _scaled(_snow),
    "pink": _scaled(_studio((252, 194, 210), (240, 160, 184))),
    "blue": _scaled(_studio((150, 204, 246), (108, 172, 228))),
}
