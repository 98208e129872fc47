"""Where a starting picture and its mask meet the model: what it works on, and the way back.

What the mask leaves out keeps its bytes. Sides are in pixels of the result unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import PREVIEW_SIDE, Pixels, fit, open_picture
from gpuagent.pipelines.preview import Floats, LatentColors
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe

# A mask that was saved as JPEG has no clean black and white.
_BLACK_BELOW, _WHITE_ABOVE = 16, 239
_REGION_MIN = 16
_ROWS_AT_ONCE = 256  # large pictures are blended in strips: floats take four times the memory
_NOISE_LEVELS, _NOISE_PIXELS = 48.0, 64.0


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    def scaled(self, across: float, down: float) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of it in a picture of another size."""
        right, bottom = self.left + self.width, self.top + self.height
        return self.left * across, self.top * down, right * across, bottom * down


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """Where new pixels meet those that are kept; `fade` falls from 1 at the kept ones to 0."""

    kept: Box
    around: tuple[tuple[int, int], tuple[int, int]]
    fade: Floats

    def match(self, made: Pixels, base: Pixels) -> Pixels:
        """Carry the colors of the kept pixels over the seam: the autoencoder is off by a little."""
        missed = base[self.kept.slices].astype(np.float32) - made[self.kept.slices]
        carried = np.pad(missed, (*self.around, (0, 0)), mode="edge") * self.fade[..., None]
        return (made + carried).clip(0, 255).round().astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """`picture` and `mask` are what the model is given, both of the recipe's size.

    `mask` says how far a pixel may change: 0 not at all, 1 altogether. Of what the model makes,
    `inner` goes to `region` of `base`, as much of it as `cover` says (255: all).
    """

    picture: Image.Image
    mask: Floats
    base: Pixels
    region: Box
    inner: Box
    cover: Pixels
    seam: Seam | None = None

    def view(self, picture: Image.Image) -> Image.Image:
        """Another picture of the same scene, cut and scaled as the model is given this one."""
        height, width = self.base.shape[:2]
        scaled = fit(picture, width, height)
        if self.region.size == scaled.size and self.inner.size == self.picture.size:
            return fit(scaled, *self.picture.size)
        return Image.fromarray(
            _work_on(np.asarray(scaled)[self.region.slices], self.inner, self.picture.size)
        )

    def finish(self, made: Pixels) -> Pixels:
        """The result: what was made, in its place. Where nothing may change, the old bytes."""
        fitting = _resized(Image.fromarray(made[self.inner.slices]), self.region.size)
        placed = np.asarray(fitting, dtype=np.uint8)
        if self.seam is not None:
            placed = self.seam.match(placed, self.base)
        result = self.base.copy()
        part = result[self.region.slices]
        for top in range(0, self.region.height, _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            old, share = part[rows].astype(np.float32), self.cover[rows, :, None] / np.float32(255)
            part[rows] = (old + (placed[rows] - old) * share).round().astype(np.uint8)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasColors(LatentColors):
    """Previews of a latent in its place: the whole picture in small, and what becomes of it."""

    before: Image.Image
    cover: Image.Image
    corner: tuple[int, int]
    inner: tuple[float, float, float, float]

    @classmethod
    def of(cls, colors: LatentColors, canvas: Canvas) -> CanvasColors:
        """Those of a model, for a canvas."""
        height, width = canvas.base.shape[:2]
        scale = PREVIEW_SIDE / max(width, height)
        whole = (max(1, round(width * scale)), max(1, round(height * scale)))
        left, top, right, bottom = (round(side) for side in canvas.region.scaled(scale, scale))
        size = (max(1, right - left), max(1, bottom - top))
        return cls(
            factors=colors.factors,
            bias=colors.bias,
            before=Image.fromarray(canvas.base).resize(whole, reducing_gap=2.0),
            cover=Image.fromarray(canvas.cover).resize(size, reducing_gap=2.0),
            corner=(left, top),
            inner=canvas.inner.scaled(1 / canvas.picture.width, 1 / canvas.picture.height),
        )

    @override
    def pixels(self, latent: Floats) -> Pixels:
        made = Image.fromarray(LatentColors.pixels(self, latent))
        left, top, right, bottom = self.inner
        wide, tall = made.size
        box = (left * wide, top * tall, right * wide, bottom * tall)
        shown = self.before.copy()
        placed = made.resize(self.cover.size, Image.Resampling.BILINEAR, box=box)
        shown.paste(placed, self.corner, self.cover)
        return np.asarray(shown)


def make_canvas(recipe: Recipe, picture: bytes, mask: bytes | None) -> Canvas | None:
    """The canvas of a recipe; None if it changes all of its starting picture.

    Raises:
        AttemptFailedError: a picture cannot be read, or the mask is black all over.
    """
    if recipe.is_outpaint:
        return _extended(open_picture(picture), recipe)
    if mask is None:
        return None
    opened = open_picture(picture)
    drawn = open_picture(mask).convert("L")
    # A mask of another size is stretched: it is meant for the picture, whatever its own shape.
    stretched = _resized(drawn, opened.size)
    if recipe.is_masked_area:
        return _masked(opened, stretched, recipe)
    return _whole(opened, stretched, recipe)


def _whole(picture: Image.Image, mask: Image.Image, recipe: Recipe) -> Canvas:
    """All of the picture at the recipe's size."""
    fitted = fit(picture, recipe.width, recipe.height)
    size = (recipe.width, recipe.height)
    drawn = _cleaned(ImageOps.fit(mask, size, _way_to(mask, size)))
    _require_white(drawn)
    soft, whole = soften(drawn, recipe.mask_blur), Box(0, 0, recipe.width, recipe.height)
    return Canvas(
        picture=fitted,
        mask=_shares(soft),
        base=np.asarray(fitted),
        region=whole,
        inner=whole,
        cover=_cover(soft),
    )


def _masked(picture: Image.Image, mask: Image.Image, recipe: Recipe) -> Canvas:
    """The masked area and its surroundings at the recipe's size, whatever the picture's."""
    drawn = _cleaned(mask)
    _require_white(drawn)
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    region = region_around(
        (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
        around=recipe.mask_padding + recipe.mask_blur,
        shape=(recipe.width, recipe.height),
        bounds=picture.size,
    )
    base = np.asarray(picture)
    soft = soften(drawn[region.slices], recipe.mask_blur)
    inner, size = _contained(region, recipe), (recipe.width, recipe.height)
    return Canvas(
        picture=Image.fromarray(_work_on(base[region.slices], inner, size)),
        mask=_shares(_work_on(soft, inner, size)),
        base=base,
        region=region,
        inner=inner,
        cover=_cover(soft),
    )


def _contained(region: Box, recipe: Recipe) -> Box:
    """Where the region lies in what the model works on: as large as it fits, in the middle."""
    scale = min(recipe.width / region.width, recipe.height / region.height)
    width = max(1, min(recipe.width, round(region.width * scale)))
    height = max(1, min(recipe.height, round(region.height * scale)))
    return Box((recipe.width - width) // 2, (recipe.height - height) // 2, width, height)


def _work_on(pixels: Pixels, inner: Box, size: tuple[int, int]) -> Pixels:
    """The pixels in their place, and around it those of their edge."""
    scaled = np.asarray(_resized(Image.fromarray(pixels), inner.size), dtype=np.uint8)
    around = [
        (inner.top, size[1] - inner.top - inner.height),
        (inner.left, size[0] - inner.left - inner.width),
        (0, 0),
    ]
    return np.pad(scaled, around[: pixels.ndim], mode="edge")


def _extended(picture: Image.Image, recipe: Recipe) -> Canvas:
    """The picture with new ground around it."""
    kept = np.asarray(fit(picture, *recipe.kept_size))
    around = (
        (recipe.outpaint_top, recipe.outpaint_bottom),
        (recipe.outpaint_left, recipe.outpaint_right),
    )
    base = np.pad(kept, (*around, (0, 0)), mode="edge")
    away = _distance(kept.shape[:2], around)
    whole = Box(0, 0, recipe.width, recipe.height)
    return Canvas(
        picture=Image.fromarray(_roughened(base, away)),
        mask=(away > 0).astype(np.float32),
        base=base,
        region=whole,
        inner=whole,
        cover=np.where(away > 0, 255, 0).astype(np.uint8),
        seam=Seam(
            kept=Box(recipe.outpaint_left, recipe.outpaint_top, *recipe.kept_size),
            around=around,
            fade=(1 - away / (recipe.mask_blur + 1)).clip(0, 1),
        ),
    )


def region_around(
    box: tuple[int, int, int, int],
    *,
    around: int,
    shape: tuple[int, int],
    bounds: tuple[int, int],
) -> Box:
    """So many pixels around the box, and as many more as give the proportions of `shape`; as far
    as the picture reaches.
    """
    low = [max(0, side - around) for side in box[:2]]
    high = [min(bound, side + around) for bound, side in zip(bounds, box[2:], strict=True)]
    wide, tall = (max(_REGION_MIN, end - start) for start, end in zip(low, high, strict=True))
    wide = max(wide, -(-tall * shape[0] // shape[1]))
    tall = max(tall, -(-wide * shape[1] // shape[0]))
    size = [min(side, bound) for side, bound in zip((wide, tall), bounds, strict=True)]
    corner = [
        min(max((start + end - side) // 2, 0), bound - side)
        for start, end, side, bound in zip(low, high, size, bounds, strict=True)
    ]
    return Box(*corner, *size)


def soften(mask: Pixels, blur: int) -> Pixels:
    """The mask with an edge that fades over `blur` pixels outside of it, no further.

    What is white stays white: the mask is grown by half of it and blurred by the other half.
    """
    grown = _grown(mask, (blur + 1) // 2)
    picture, half = Image.fromarray(grown), blur // 2
    for radius in ((half + 1) // 2, half // 2):
        picture = picture.filter(ImageFilter.BoxBlur(radius))
    return np.asarray(picture, dtype=np.uint8)


def _grown(mask: Pixels, radius: int) -> Pixels:
    """The largest value within `radius` pixels, by doubling the span it was taken over."""
    window = 2 * radius + 1
    for axis in (0, 1):
        around = [(radius, radius) if axis == each else (0, 0) for each in (0, 1)]
        lines, span = np.moveaxis(np.pad(mask, around, mode="edge"), axis, 0), 1
        while span < window:
            step = min(span, window - span)
            lines, span = np.maximum(lines[:-step], lines[step:]), span + step
        mask = np.moveaxis(lines, 0, axis)
    return np.ascontiguousarray(mask)


def _shares(mask: Pixels) -> Floats:
    return np.asarray(mask, dtype=np.float32) / np.float32(255)


def _cover(soft: Pixels) -> Pixels:
    """How much of what was made is seen. Half changed is no half transparent picture: gray parts
    of a mask are covered altogether, only the outer half of an edge lets the old shine through.
    """
    return np.where(soft > 127, 255, soft * 2).astype(np.uint8)


def _cleaned(mask: Image.Image) -> Pixels:
    values = np.asarray(mask)
    values = np.where(values < _BLACK_BELOW, 0, values)
    return np.where(values > _WHITE_ABOVE, 255, values).astype(np.uint8)


def _require_white(mask: Pixels) -> None:
    if not mask.any():
        raise AttemptFailedError(FailureCode.MASK_EMPTY)


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, _way_to(picture, size))


def _way_to(picture: Image.Image, size: tuple[int, int]) -> Image.Resampling:
    """A mask must not ring or bleed: what is next to its white is black."""
    if picture.mode != "L":
        return Image.Resampling.LANCZOS
    is_smaller = size[0] <= picture.width and size[1] <= picture.height
    return Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR


def _distance(kept: tuple[int, ...], around: tuple[tuple[int, int], tuple[int, int]]) -> Floats:
    """Of each pixel of the result from the nearest kept one."""
    axes = []
    for side, (before, after) in zip(kept, around, strict=True):
        place = np.arange(-before, side + after)
        axes.append(np.maximum(np.maximum(-place, place - (side - 1)), 0).astype(np.float32))
    return np.hypot(axes[0][:, None], axes[1][None, :])


def _roughened(base: Pixels, away: Floats) -> Pixels:
    """Noise the further from what is kept, else the model takes the drawn-out edge for stripes.

    Always the same noise: the seed of the recipe belongs to each picture, the canvas to all.
    """
    noise = np.random.default_rng(0).standard_normal(base.shape, dtype=np.float32)
    strength = (away / _NOISE_PIXELS).clip(0, 1) * _NOISE_LEVELS
    return (base + noise * strength[..., None]).clip(0, 255).round().astype(np.uint8)
