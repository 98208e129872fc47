"""Masks and extensions in pixels: what the model is given, and what comes back untouched."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.canvas import (
    Canvas,
    CanvasColors,
    make_canvas,
    region_around,
    soften,
)
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.preview import LatentColors
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import InpaintArea

RECIPE = Recipe(model="a" * 64, prompt="x", image="b" * 64, mask="c" * 64, mask_blur=6)
MASKED = replace(RECIPE, inpaint_area=InpaintArea.MASKED, mask_padding=10)


def png(picture: Pixels | Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    opened.save(file, kind)
    return file.getvalue()


def noise(width: int = 128, height: int = 128, seed: int = 1) -> Pixels:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return values.astype(np.uint8)


def drawn(size: tuple[int, int], box: tuple[int, int, int, int], level: int = 255) -> Image.Image:
    """Black with a filled box; right and bottom belong to it."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(box, fill=level)
    return mask


def canvas_of(recipe: Recipe, picture: Pixels, mask: Image.Image | None = None) -> Canvas:
    canvas = make_canvas(recipe, png(picture), png(mask) if mask is not None else None)
    assert canvas is not None
    return canvas


def changed(before: Pixels, after: Pixels) -> np.ndarray:
    return np.asarray((before != after).any(axis=2))


# ---- the mask


@given(st.integers(0, 24), st.integers(20, 50), st.integers(1, 20))
def test_a_soft_edge_ends_where_it_is_said_to(blur: int, at: int, size: int) -> None:
    mask = np.zeros((80, 80), np.uint8)
    mask[at : at + size, at : at + size] = 255
    soft = soften(mask, blur)
    assert (soft[mask > 0] == 255).all()
    low, high = max(0, at - blur), at + size + blur
    outside = np.ones_like(mask, bool)
    outside[low:high, low:high] = False
    assert (soft[outside] == 0).all()
    row = soft[at + size // 2, at + size - 1 :].astype(int)
    assert (np.diff(row) <= 0).all()
    if blur > 1 and high < 80:
        assert 0 < row[blur] < 128


def test_gray_stays_gray() -> None:
    soft = soften(np.full((40, 40), 100, np.uint8), 8)
    assert (soft == 100).all()


def test_an_edge_at_the_border_does_not_fade_there() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, :20] = 255
    assert (soften(mask, 8)[:, 0] == 255).all()


# ---- the whole picture


@pytest.mark.parametrize("blur", [0, 1, 6, 20])
def test_bytes_outside_of_the_mask_and_its_edge_are_the_old_ones(blur: int) -> None:
    picture, made = noise(), noise(seed=2)
    canvas = canvas_of(
        replace(RECIPE, mask_blur=blur), picture, drawn((128, 128), (40, 50, 79, 89))
    )
    result = canvas.finish(made)
    assert np.array_equal(result[50:90, 40:80], made[50:90, 40:80])
    near = np.zeros((128, 128), bool)
    near[50 - blur : 90 + blur, 40 - blur : 80 + blur] = True
    assert not changed(picture, result)[~near].any()
    assert changed(picture, result)[near].mean() > 0.8


def test_the_picture_is_scaled_and_cut_and_the_mask_with_it() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[60:120, 210:250] = (255, 0, 0)
    mask = drawn((400, 200), (210, 60, 249, 119))
    canvas = canvas_of(replace(RECIPE, mask_blur=0), picture, mask)
    red = np.asarray(canvas.picture)[..., 0] > 128
    assert canvas.picture.size == (128, 128)
    assert ((canvas.mask > 0.5) == red).mean() > 0.99


def test_a_mask_of_another_size_is_stretched_over_the_picture() -> None:
    picture = noise(256, 128)
    recipe = replace(RECIPE, width=256, mask_blur=0)
    small, same = drawn((32, 32), (8, 8, 15, 23)), drawn((256, 128), (64, 32, 127, 95))
    given_small, given_same = (canvas_of(recipe, picture, m).mask for m in (small, same))
    assert np.abs(given_small - given_same).mean() < 0.02


def test_a_mask_saved_as_jpeg_keeps_what_is_black() -> None:
    mask = drawn((128, 128), (40, 40, 80, 80))
    canvas = make_canvas(replace(RECIPE, mask_blur=0), png(noise()), png(mask, "JPEG"))
    assert canvas is not None
    far = np.ones((128, 128), bool)
    far[30:92, 30:92] = False
    assert (canvas.mask[far] == 0).all()


@pytest.mark.parametrize("recipe", [RECIPE, MASKED])
def test_a_mask_that_is_black_all_over_is_told(recipe: Recipe) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        canvas_of(recipe, noise(), Image.new("L", (128, 128), 9))
    assert caught.value.code is FailureCode.MASK_EMPTY


def test_no_mask_means_no_canvas() -> None:
    assert make_canvas(replace(RECIPE, mask=None), png(noise()), None) is None


# ---- the masked area


def test_the_masked_area_is_worked_on_at_the_recipes_size_and_put_back() -> None:
    picture = noise(640, 480)
    canvas = canvas_of(MASKED, picture, drawn((640, 480), (400, 200, 447, 247)))
    around = 48 + 2 * (MASKED.mask_padding + MASKED.mask_blur)
    assert canvas.region.size == (around, around)
    assert canvas.picture.size == (128, 128)
    result = canvas.finish(np.full((128, 128, 3), 200, np.uint8))
    assert result.shape == picture.shape
    assert (result[200:248, 400:448] == 200).all()
    near = np.zeros((480, 640), bool)
    near[194:254, 394:454] = True
    assert not changed(picture, result)[~near].any()


def test_large_areas_are_put_back_whole() -> None:
    picture, mask = noise(700, 900), Image.new("L", (700, 900), 255)
    recipe = replace(MASKED, mask_blur=0)
    made = np.full((128, 128, 3), 90, np.uint8)
    assert (canvas_of(recipe, picture, mask).finish(made) == 90).all()


def test_what_the_model_leaves_alone_comes_back_alike() -> None:
    smooth = Image.fromarray(noise(20, 15)).resize((640, 480), Image.Resampling.BICUBIC)
    picture = np.asarray(smooth)
    canvas = canvas_of(MASKED, picture, drawn((640, 480), (600, 440, 639, 479)))
    result = canvas.finish(np.asarray(canvas.picture))
    assert np.abs(result.astype(int) - picture).max() < 6


def test_a_long_mask_is_not_squeezed() -> None:
    picture = np.zeros((40, 400, 3), np.uint8)
    picture[:, ::40] = 255
    canvas = canvas_of(replace(MASKED, mask_blur=0), picture, Image.new("L", (400, 40), 255))
    assert canvas.region.size == (400, 40)
    assert canvas.inner.size == (128, 13)
    assert canvas.finish(noise()).shape == picture.shape


boxes = st.tuples(st.integers(1, 900), st.integers(1, 900)).flatmap(
    lambda bounds: st.tuples(
        st.just(bounds),
        st.integers(0, bounds[0] - 1).flatmap(
            lambda left: st.tuples(st.just(left), st.integers(left + 1, bounds[0]))
        ),
        st.integers(0, bounds[1] - 1).flatmap(
            lambda top: st.tuples(st.just(top), st.integers(top + 1, bounds[1]))
        ),
    )
)


@given(boxes, st.integers(0, 600), st.integers(8, 256), st.integers(8, 256))
def test_the_area_holds_the_mask_and_lies_within_the_picture(
    given_box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    around: int,
    wide: int,
    tall: int,
) -> None:
    bounds, (left, right), (top, bottom) = given_box
    box = region_around(
        (left, top, right, bottom), around=around, shape=(wide, tall), bounds=bounds
    )
    assert 0 <= box.left <= max(0, left - 0)
    assert 0 <= box.top <= top
    assert right <= box.left + box.width <= bounds[0]
    assert bottom <= box.top + box.height <= bounds[1]
    if box.width < bounds[0] and box.height < bounds[1]:
        # As near to the proportions as whole pixels come.
        assert abs(box.width * tall - box.height * wide) <= max(wide, tall)


# ---- an extended picture


EXTENDED = replace(
    RECIPE, mask=None, mask_blur=4, outpaint_left=16, outpaint_top=8, outpaint_right=24
)


def test_an_extended_picture_keeps_its_bytes_where_it_belongs() -> None:
    picture = noise(*EXTENDED.kept_size)
    assert picture.shape == (120, 88, 3)
    result = canvas_of(EXTENDED, picture).finish(noise(seed=3))
    assert result.shape == (128, 128, 3)
    assert np.array_equal(result[8:, 16:104], picture)
    assert (result[:, 112:] == noise(seed=3)[:, 112:]).all()


def test_only_new_ground_may_change() -> None:
    canvas = canvas_of(EXTENDED, noise(*EXTENDED.kept_size))
    assert (canvas.mask[8:, 16:104] == 0).all()
    assert canvas.mask.sum() == 128 * 128 - 120 * 88


def test_a_seam_hides_that_colors_are_off() -> None:
    """The model gives the kept part back darker: the new ground must not begin as dark."""
    picture = np.full((120, 88, 3), 180, np.uint8)
    made = np.full((128, 128, 3), 160, np.uint8)
    soft, hard = (
        canvas_of(replace(EXTENDED, mask_blur=blur), picture).finish(made)[60, :, 0].astype(int)
        for blur in (8, 0)
    )
    assert np.abs(np.diff(soft)).max() <= 4
    assert np.abs(np.diff(hard)).max() == 20
    assert soft[-1] == 160


def test_new_ground_begins_with_the_edge_and_roughens() -> None:
    picture = np.full((120, 88, 3), 100, np.uint8)
    canvas = canvas_of(EXTENDED, picture)
    given_to_model = np.asarray(canvas.picture).astype(int)
    assert np.abs(given_to_model[60, 104:106] - 100).max() < 8
    assert given_to_model[:, 120:].std() > 10
    assert np.array_equal(given_to_model, np.asarray(canvas_of(EXTENDED, picture).picture))


# ---- previews


def test_a_preview_shows_the_picture_with_what_is_made_in_its_place() -> None:
    picture = np.full((480, 640, 3), 40, np.uint8)
    canvas = canvas_of(MASKED, picture, drawn((640, 480), (400, 200, 479, 279)))
    plain = LatentColors(factors=np.eye(4, 3, dtype=np.float32), bias=np.zeros(3, np.float32))
    colors = CanvasColors.of(plain, canvas)
    shown = colors.pixels(np.ones((4, 16, 16), np.float32))
    assert shown.shape == (120, 160, 3)
    assert (shown[60, 110] > 200).all()
    assert (shown[10:40] == 40).all()
    assert (shown[:, :90] == 40).all()
