"""Draws a picture from what it shows."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import skia

from house.drawing.objects import FLOATING, HELD_OUT, OBJECTS
from house.drawing.paths import INK, RGB, WHITE, Part, Tone, Vary, mix, pen
from house.drawing.scenes import SCENES, Stage
from house.drawing.specs import Item, Spec

Pixels = npt.NDArray[np.uint8]

# Hue, saturation and value (0 to 1) of each colour's middle.
HSV: dict[str, tuple[float, float, float]] = {
    "red": (0.99, 0.86, 0.84),
    "orange": (0.075, 0.90, 0.97),
    "yellow": (0.14, 0.82, 0.98),
    "green": (0.36, 0.72, 0.62),
    "blue": (0.595, 0.80, 0.82),
    "purple": (0.765, 0.62, 0.68),
    "pink": (0.93, 0.48, 0.97),
    "brown": (0.06, 0.62, 0.46),
    "black": (0.60, 0.12, 0.17),
    "white": (0.10, 0.025, 0.97),
    # Never trained: for a textual inversion to find.
    "teal": (0.485, 0.85, 0.70),
}
PAPER: RGB = (252, 249, 240)
PAPER_SHARE = 0.62
NIGHT: RGB = (14, 8, 34)
NIGHT_SHARE = 0.8
# Radius of an object as a share of the picture's side.
RADIUS = {"small": (0.185, 0.215), "normal": (0.29, 0.335), "large": (0.395, 0.42)}
PLACED_RADIUS = (0.235, 0.27)
PAIR_RADIUS = (0.195, 0.225)
PLACE = {"left": (0.27, 0.31), "center": (0.475, 0.525), "right": (0.69, 0.73)}
PAIR_PLACE = ((0.25, 0.29), (0.71, 0.75))
HORIZON = (0.57, 0.66)


@dataclass(frozen=True)
class Spot:
    """Where an object stands, in pixels: its middle and its radius."""

    x: float
    y: float
    radius: float
    ground: float
    floating: bool


def draw(spec: Spec, rng: np.random.Generator, size: int = 128) -> Pixels:
    """The picture as `[size, size, 3]`, one of many that fit `spec`."""
    return draw_layers(spec, rng, size)[0]


def draw_layers(spec: Spec, rng: np.random.Generator, size: int = 128) -> tuple[Pixels, Pixels]:
    """The picture that `draw` gives, and `[size, size, 4]`: its objects alone, without shadows."""
    vary: Vary = rng.uniform
    surface, alone = skia.Surface(size, size), skia.Surface(size, size)
    canvas = surface.getCanvas()
    horizon = vary(*HORIZON) * size
    SCENES[spec.background](canvas, Stage(size, horizon, spec.style in ("photo", "neon")), vary)
    if spec.style == "neon":
        canvas.drawColor(skia.Color(*NIGHT, round(255 * NIGHT_SHARE)))
    if spec.style == "sketch":
        canvas.drawColor(skia.Color(*PAPER, round(255 * PAPER_SHARE)))
    for item, spot in zip(spec.items, _spots(spec, vary, size, horizon), strict=True):
        _draw_shadow(canvas, spot, spec.style)
        _draw_item((canvas, alone.getCanvas()), item, spot, spec.style, vary)
    return np.ascontiguousarray(_pixels(surface)[..., :3]), _pixels(alone)


def _pixels(surface: skia.Surface) -> Pixels:
    pixels: Pixels = surface.toarray(colorType=skia.kRGBA_8888_ColorType)
    return pixels


def _spots(spec: Spec, vary: Vary, size: int, horizon: float) -> list[Spot]:
    base = max(horizon + 0.08 * size, 0.76 * size)
    if len(spec.items) == 2:
        radii = [vary(*PAIR_RADIUS) * size for _ in spec.items]
        ground = base + vary(0.0, 0.06) * size
        return [
            _spot(item, vary(*where) * size, radius, ground, size)
            for item, where, radius in zip(spec.items, PAIR_PLACE, radii, strict=True)
        ]
    placed = spec.place != "center" and spec.size == "normal"
    radius = vary(*(PLACED_RADIUS if placed else RADIUS[spec.size])) * size
    ground = min(0.95 * size, max(base, 0.5 * size + radius + vary(0.0, 0.05) * size))
    return [_spot(spec.items[0], vary(*PLACE[spec.place]) * size, radius, ground, size)]


def _spot(item: Item, x: float, radius: float, ground: float, size: int) -> Spot:
    floating = item.kind in FLOATING
    y = min(ground - radius, 0.5 * size) if floating else ground - radius
    return Spot(x, y, radius, ground + (0.04 * size if floating else 0.0), floating)


def _draw_item(
    canvases: tuple[skia.Canvas, ...], item: Item, spot: Spot, style: str, vary: Vary
) -> None:
    base = colour_of(item.colour, vary)
    kind = OBJECTS.get(item.kind) or HELD_OUT[item.kind]
    turn = vary(-7, 7) if spot.floating else vary(-1.5, 1.5)
    wide = spot.radius * vary(0.96, 1.04)
    parts = kind(vary)
    for canvas in canvases:
        canvas.save()
        canvas.translate(spot.x, spot.y)
        canvas.rotate(turn)
        canvas.scale(wide, spot.radius)
        for part in parts:
            paint = PAINTERS[style]
            paint(canvas, part, _part_colour(part.paint, base, item.colour), spot.radius)
        canvas.restore()


def _draw_shadow(canvas: skia.Canvas, spot: Spot, style: str) -> None:
    wide, deep = (0.55, 0.09) if spot.floating else (0.95, 0.12)
    paint = skia.Paint(AntiAlias=True, Color=skia.Color(10, 10, 30, 70 if spot.floating else 105))
    if style == "photo":
        blur = spot.radius * (0.10 if spot.floating else 0.07)
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
    else:
        paint.setAlpha(45)
    half, high = wide * spot.radius, deep * spot.radius
    canvas.drawOval(
        skia.Rect.MakeLTRB(spot.x - half, spot.ground - high, spot.x + half, spot.ground + high),
        paint,
    )


def colour_of(name: str, vary: Vary) -> RGB:
    """One shade of a named colour."""
    hue, saturation, value = HSV[name]
    red, green, blue = colorsys.hsv_to_rgb(
        (hue + vary(-0.012, 0.012)) % 1,
        min(1.0, saturation * vary(0.92, 1.08)),
        min(1.0, value * vary(0.94, 1.06)),
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def _part_colour(paint: Tone | RGB, base: RGB, name: str) -> RGB:
    if not isinstance(paint, str):
        return paint
    dark, light = mix(base, INK, 0.28), mix(base, WHITE, 0.30)
    if name == "black":  # darker than black shows nothing
        dark, light = mix(base, WHITE, 0.09), mix(base, WHITE, 0.24)
    elif name == "white":
        dark = mix(base, INK, 0.16)
    return {"main": base, "dark": dark, "light": light}[paint]


def _paint_photo(canvas: skia.Canvas, part: Part, colour: RGB, radius: float) -> None:
    paint = skia.Paint(AntiAlias=True, Color=skia.Color(*colour))
    shader = _shader(part, colour)
    if shader is not None:
        paint.setShader(shader)
    canvas.drawPath(part.path, paint)
    bounds = part.path.getBounds()
    if part.shading in ("cylinder", "sphere") and bounds.width() > 0.5:
        _draw_gloss(canvas, part, bounds, 190 if min(colour) > 200 else 125)
    if min(colour) > 200:  # a white thing on a white wall needs an edge
        canvas.drawPath(part.path, pen(mix(colour, INK, 0.35), 1.0 / radius, 140))
    elif max(colour) < 70:
        canvas.drawPath(part.path, pen(mix(colour, WHITE, 0.3), 1.0 / radius, 140))


def _shader(part: Part, colour: RGB) -> skia.Shader | None:
    bounds = part.path.getBounds()
    left, top, right, bottom = bounds.left(), bounds.top(), bounds.right(), bounds.bottom()
    bright, deep = mix(colour, WHITE, 0.30), mix(colour, INK, 0.40)
    if part.shading == "cylinder":
        tones = [mix(colour, INK, 0.28), bright, colour, deep]
        ends = [skia.Point(left, 0), skia.Point(right, 0)]
        return skia.GradientShader.MakeLinear(
            ends, [skia.Color(*tone) for tone in tones], [0, 0.3, 0.55, 1]
        )
    if part.shading == "top":
        ends = [skia.Point(0, top), skia.Point(0, bottom)]
        tones = [mix(colour, WHITE, 0.26), colour, mix(colour, INK, 0.30)]
        return skia.GradientShader.MakeLinear(ends, [skia.Color(*tone) for tone in tones])
    if part.shading == "sphere":
        middle = skia.Point(left + 0.36 * (right - left), top + 0.32 * (bottom - top))
        tones = [mix(colour, WHITE, 0.45), colour, mix(colour, INK, 0.48)]
        reach = 0.8 * max(right - left, bottom - top)
        return skia.GradientShader.MakeRadial(
            middle, reach, [skia.Color(*tone) for tone in tones], [0, 0.35, 1]
        )
    return None


def _draw_gloss(canvas: skia.Canvas, part: Part, bounds: skia.Rect, alpha: int) -> None:
    paint = skia.Paint(AntiAlias=True, Color=skia.Color(255, 255, 255, alpha))
    paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 0.05))
    left, top, width, height = bounds.left(), bounds.top(), bounds.width(), bounds.height()
    canvas.save()
    canvas.clipPath(part.path, True)
    if part.shading == "cylinder":
        stripe = skia.Rect.MakeXYWH(
            left + 0.17 * width, top + 0.16 * height, 0.11 * width, 0.64 * height
        )
        canvas.drawRoundRect(stripe, 0.08, 0.08, paint)
    else:
        canvas.drawOval(
            skia.Rect.MakeXYWH(
                left + 0.2 * width, top + 0.13 * height, 0.27 * width, 0.18 * height
            ),
            paint,
        )
    canvas.restore()


def _paint_flat(canvas: skia.Canvas, part: Part, colour: RGB, radius: float) -> None:
    canvas.drawPath(part.path, skia.Paint(AntiAlias=True, Color=skia.Color(*colour)))
    if min(colour) > 200:
        canvas.drawPath(part.path, pen(mix(colour, INK, 0.4), 1.4 / radius))


def _paint_sketch(canvas: skia.Canvas, part: Part, colour: RGB, radius: float) -> None:
    ink = mix(colour, INK, 0.62) if min(colour) < 200 else mix(colour, INK, 0.66)
    wash = mix(PAPER, colour, 0.55)
    canvas.drawPath(part.path, skia.Paint(AntiAlias=True, Color=skia.Color(*wash)))
    canvas.drawPath(part.path, pen(ink, 2.6 / radius))


def _paint_neon(canvas: skia.Canvas, part: Part, colour: RGB, radius: float) -> None:
    bright = mix(colour, WHITE, 0.12) if max(colour) > 70 else mix(colour, WHITE, 0.45)
    canvas.drawPath(
        part.path, skia.Paint(AntiAlias=True, Color=skia.Color(*mix(NIGHT, bright, 0.1)))
    )
    glow = pen(bright, 7.0 / radius, 190)
    glow.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 3.5 / radius))
    canvas.drawPath(part.path, glow)
    canvas.drawPath(part.path, pen(mix(bright, WHITE, 0.3), 2.6 / radius))


PAINTERS = {
    "photo": _paint_photo,
    "flat": _paint_flat,
    "sketch": _paint_sketch,
    "neon": _paint_neon,
}
