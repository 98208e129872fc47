"""Maps made from pixels: what they show, and the same by the agent and by the program alone."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gpuagent import maps
from gpuagent.maps import make_map
from gpuagent.pipelines.encode import Pixels
from house.edges import edges
from house.evaluation import as_input

SIDE = 128
KINDS = ("canny", "lineart", "scribble", "tile")


@pytest.fixture(scope="module")
def house_drawing() -> Image.Image:
    """A dark house on a bright ground, with a shadow that fades."""
    picture = Image.new("RGB", (SIDE, SIDE), (230, 225, 210))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((30, 60, 98, 110), fill=(150, 60, 40))
    draw.polygon([(24, 60), (64, 24), (104, 60)], fill=(60, 60, 80))
    draw.line((10, 118, 118, 118), fill=(20, 20, 20), width=2)
    return picture


def pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture, dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_has_the_pictures_size_and_is_always_the_same(
    kind: str, house_drawing: Image.Image
) -> None:
    first, second = make_map(kind, house_drawing), make_map(kind, house_drawing)
    assert (first.size, first.mode) == (house_drawing.size, "RGB")
    assert np.array_equal(pixels(first), pixels(second))
    assert pixels(first).std() > 5


@pytest.mark.parametrize("kind", ["canny", "lineart", "scribble"])
def test_lines_are_white_on_black_and_there_are_none_in_nothing(
    kind: str, house_drawing: Image.Image
) -> None:
    drawn = pixels(make_map(kind, house_drawing))
    assert 0.005 < (drawn > 127).mean() < 0.3
    assert not pixels(make_map(kind, Image.new("RGB", (64, 48), "teal"))).any()


def test_canny_is_what_the_house_controlnet_learned_from(house_drawing: Image.Image) -> None:
    rough = np.random.default_rng(0).normal(0, 6, (SIDE, SIDE, 3))
    picture = (pixels(house_drawing) + rough).clip(0, 255).astype(np.uint8)
    theirs = edges(as_input(picture[None]))[0, 0].numpy().astype(bool)
    ours = pixels(make_map("canny", Image.fromarray(picture)))[..., 0] > 0
    assert theirs.sum() > 200
    assert (ours != theirs).mean() < 0.002


def test_thresholds_decide_how_much_is_a_line() -> None:
    ramp = np.tile(np.linspace(0, 255, 16).repeat(8).astype(np.uint8), (64, 1))
    steps = Image.fromarray(ramp).convert("RGB")
    many, few = (
        (pixels(make_map("canny", steps, low=low, high=high)) > 0).sum()
        for low, high in ((1, 2), (20, 40))
    )
    assert many > 500
    assert few == 0


def test_weak_lines_are_kept_where_they_hang_on_strong_ones() -> None:
    strong, weak = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    strong[2, 0] = True
    weak[2, :5] = weak[1, 5] = weak[4, 8] = True
    followed = maps._followed(strong, weak)
    assert followed[2, :5].all()
    assert followed[1, 5]
    assert followed.sum() == 6


def test_a_scribble_is_thick_and_leaves_small_things_out(house_drawing: Image.Image) -> None:
    large = house_drawing.resize((512, 512))
    ImageDraw.Draw(large).point((20, 20), fill="black")
    canny, scribble = pixels(make_map("canny", large)), pixels(make_map("scribble", large))
    assert (scribble > 0).sum() > 2 * (canny > 0).sum()
    assert not scribble[:40, :40].any()


def test_a_tile_keeps_colors_and_loses_detail() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 100 + 50
    picture = Image.fromarray(checks.astype(np.uint8)).convert("RGB")
    drawn = pixels(make_map("tile", picture))
    assert drawn.std() < 2
    assert abs(float(drawn.mean()) - 100) < 2


def test_other_kinds_are_not_made_from_pixels() -> None:
    with pytest.raises(KeyError):
        make_map("depth", Image.new("RGB", (8, 8)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_draws_what_the_agent_draws(kind: str, house_drawing: Image.Image) -> None:
    encoded = io.BytesIO()
    house_drawing.save(encoded, "PNG")
    ended = subprocess.run(
        [sys.executable, "-I", "-B", str(Path(maps.__file__)), kind, "96", "64", "6", "16"],
        input=encoded.getvalue(),
        stdout=subprocess.PIPE,
        check=True,
        env={"OPENBLAS_NUM_THREADS": "1"},
        timeout=60,
    )
    fitting = maps.fitted(house_drawing, 96, 64)
    with Image.open(io.BytesIO(ended.stdout)) as drawn:
        assert np.array_equal(pixels(drawn.convert("RGB")), pixels(make_map(kind, fitting)))


def test_torch_is_not_needed() -> None:
    code = "import sys; import gpuagent.maps; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
