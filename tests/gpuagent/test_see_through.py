"""Enlarging what has nothing around it: coverage is kept, and no edge takes up what lay behind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gpuagent.pipelines.encode import Pixels, encode_thumbnail
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.see_through import beyond_edges, enlarge_apart
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.planning.upscaling import estimate_upscale
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_parsing import parse_recipe
from tests.upscalers import make_upscaler_folder

RED = (200, 30, 20)


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Upscaler:
    return Upscaler(make_upscaler_folder(tmp_path_factory.mktemp("upscaler")), engine)


def cut_out(size: tuple[int, int] = (60, 44)) -> tuple[Image.Image, Image.Image]:
    """A red disc with a soft edge as uploads have it: on white, and where it is transparent."""
    width, height = size
    large = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(large).ellipse((40, 30, 180, 150), fill=255)
    alpha = large.resize(size, Image.Resampling.BOX)
    on_white = Image.new("RGB", size, "white")
    on_white.paste(Image.new("RGB", size, RED), mask=alpha)
    return on_white, Image.fromarray(255 - np.asarray(alpha))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_cut_out_stays_one_and_its_edge_has_its_own_color(upscaler: Upscaler, scale: int) -> None:
    picture, missing = cut_out()
    made = enlarge_apart(picture, missing, lambda part: upscaler.enlarge(part, scale))
    assert made.shape == (44 * scale, 60 * scale, 4)
    alpha = made[..., 3]
    # What was whole or nothing is so to the last pixel
    near = 3 * scale
    assert (alpha[:near] == 0).all()
    assert (alpha[20 * scale : 24 * scale, 24 * scale : 28 * scale] == 255).all()
    assert (made[alpha == 0] == 0).all()
    # and covers as much as before
    share = 1 - np.asarray(missing).mean() / 255
    assert abs(alpha.mean() / 255 - share) < 0.02
    # and half-covered pixels are as red as the rest: neither white nor black shines through
    edge = made[(alpha > 20) & (alpha < 235)][:, :3].astype(int)
    inner = made[alpha == 255][:, :3].astype(int).mean(axis=0)
    assert len(edge) > 50
    assert np.abs(edge - inner).mean() < 12
    on_white = upscaler.enlarge(picture, scale)
    fringe = on_white[(alpha > 20) & (alpha < 235)].astype(int)
    assert np.abs(fringe - inner).mean() > 40, "as it would be with the white in it"


def test_colors_go_on_beyond_the_edge_and_are_not_changed_within() -> None:
    picture, missing = cut_out()
    alpha: Pixels = 255 - np.asarray(missing)
    filled = beyond_edges(np.asarray(picture), alpha)
    assert np.array_equal(filled[alpha == 255], np.asarray(picture)[alpha == 255])
    assert np.abs(filled.astype(int) - RED).max() <= 3, "there is but one color"
    nothing = beyond_edges(np.full((5, 7, 3), 255, np.uint8), np.zeros((5, 7), np.uint8))
    assert (nothing == 0).all()


def test_a_thumbnail_takes_no_color_from_behind() -> None:
    pixels = np.zeros((800, 800, 4), np.uint8)
    pixels[:, 401:] = (*RED, 255)
    file = encode_thumbnail(pixels)

    with Image.open(io.BytesIO(file.data)) as opened:
        small = np.asarray(opened.convert("RGBA")).astype(int)
    edge = small[(small[..., 3] > 60) & (small[..., 3] < 250)]
    assert len(edge)
    assert np.abs(edge[:, :3] - RED).mean() < 25


def test_a_recipe_says_what_is_transparent_and_counts_its_memory() -> None:
    asked = {"model": "a" * 64, "image": "b" * 64, "scale": 2, "width": 2_000, "height": 2_000}
    plain, apart = parse_recipe(asked), parse_recipe({**asked, "mask": "c" * 64})
    assert "mask" not in plain.to_wire()
    assert apart.to_wire() == {**plain.to_wire(), "mask": "c" * 64}
    assert apart.inputs == {"image": "b" * 64, "mask": "c" * 64}

    def bytes_of(recipe: Recipe) -> int:
        return estimate_upscale(recipe, weights_bytes=0).total_bytes

    assert bytes_of(apart) > bytes_of(plain) + 100 * 1024**2
