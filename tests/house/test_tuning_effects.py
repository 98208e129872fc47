"""What the settings that tune a drawing do to pictures, seen by the house model's judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.inpaint import Known, StartingPicture
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.tiling import decode_tiles, encode_tiles
from gpuagent.planning.hires import starts
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS
from gpuagent.protocol.tuning import SIGMAS, takes_sigmas
from gpuagent.runner.refining import refining_recipe
from house.judge import Judge
from house.recipe import MODEL

MUG = Recipe(
    model="a" * 64,
    prompt="photo of a red mug on a wooden table",
    guidance_scale=4.0,
    seed=3,
    num_inference_steps=20,
)
TAKING = [sampler.id for sampler in SAMPLERS.values() if takes_sigmas(sampler)]
# One of each class is enough: the others differ in how they spread their steps themselves.
ONE_OF_EACH = list({SAMPLERS[name].class_name: name for name in TAKING}.values())


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


def drawn(model: StableDiffusion15, recipe: Recipe, index: int = 0) -> Pixels:
    return model.decode(model.denoise(recipe, index, model.encode_prompts(recipe)))


def larger(model: StableDiffusion15, recipe: Recipe) -> tuple[Pixels, Pixels]:
    """Enlarged alone, and drawn again, as the agent does it."""
    picture = Image.fromarray(drawn(model, replace(recipe, hires_scale=0)))
    picture = picture.resize(recipe.result_size, Image.Resampling.LANCZOS)
    side = recipe.hires_tile or max(recipe.result_size)
    start = encode_tiles(picture, side, 8, lambda tile: model.take_in(tile).posterior.mode())
    with model.tiles.of(side, lambda: None):
        latents = model.denoise(
            refining_recipe(recipe),
            0,
            model.encode_prompts(recipe),
            start=StartingPicture(posterior=Known(start)),
        )
    return np.asarray(picture), decode_tiles(latents, side, 8, model.decode)


def seen(judge: Judge, pixels: Pixels) -> tuple[str, str]:
    small = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BOX)
    values = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float()
    answers = judge.answers(values / 127.5 - 1)
    return answers["colour"][0], answers["kind"][0]


def sharpness(pixels: Pixels) -> float:
    gray = pixels.astype(float).mean(2)
    return float(np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean())


@pytest.mark.parametrize("sampler", ONE_OF_EACH)
@pytest.mark.parametrize("sigmas", SIGMAS)
def test_every_spacing_draws_what_is_asked(
    sampler: str, sigmas: str, model: StableDiffusion15, judge: Judge
) -> None:
    recipe = replace(MUG, sampler=sampler, sigmas=sigmas)
    assert seen(judge, drawn(model, recipe)) == ("red", "mug")


def test_a_picture_without_guidance_in_its_second_half_shows_the_same(
    model: StableDiffusion15, judge: Judge
) -> None:
    recipe = replace(MUG, guidance_end=0.5)
    assert seen(judge, drawn(model, recipe)) == ("red", "mug")


def test_slight_variations_show_the_same_in_other_ways(
    model: StableDiffusion15, judge: Judge
) -> None:
    recipe = replace(MUG, variation_seed=11, variation_strength=0.2, num_images_per_prompt=3)
    made = [drawn(model, recipe, index) for index in range(3)]
    assert {seen(judge, pixels) for pixels in made} == {("red", "mug")}
    assert len({pixels.tobytes() for pixels in made}) == 3


@pytest.mark.parametrize("tile", [0, 192])
def test_what_is_drawn_again_shows_the_same(
    tile: int, model: StableDiffusion15, judge: Judge
) -> None:
    recipe = replace(MUG, hires_scale=2.0, hires_strength=0.3, hires_tile=tile)
    enlarged, again = larger(model, recipe)
    assert again.shape == (256, 256, 3)
    assert seen(judge, again) == ("red", "mug")
    assert np.abs(again.astype(int) - enlarged).mean() > 5, "it was drawn, not only enlarged"


def test_drawing_more_of_it_anew_brings_detail(model: StableDiffusion15) -> None:
    slightly, half = (
        larger(model, replace(MUG, hires_scale=2.0, hires_strength=strength, hires_tile=192))
        for strength in (0.05, 0.5)
    )
    assert sharpness(half[1]) > 1.2 * sharpness(half[0])
    assert sharpness(half[1]) > 1.2 * sharpness(slightly[1])


def test_where_tiles_meet_is_no_seam(
    model: StableDiffusion15, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its surroundings, no step from pixel to pixel stands out at a tile's border."""
    recipe = replace(MUG, hires_scale=3.0, hires_strength=0.3, hires_tile=192)
    assert max(steps_at_borders(larger(model, recipe)[1])) < 1.6
    monkeypatch.setattr(
        "gpuagent.pipelines.tiling._ramp", lambda _start, side, _length: np.ones(side, np.float32)
    )
    assert max(steps_at_borders(larger(model, recipe)[1])) > 3, "tiles with hard edges"


def steps_at_borders(made: Pixels, side: int = 192) -> list[float]:
    """The step at each border between tiles, beside those within eight pixels of it."""
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(made.astype(float).mean(2), axis=axis)).mean(1 - axis)
        for at in (edge for start in starts(384, side) for edge in (start, start + side)):
            if 0 < at < 384:
                around = np.concatenate([steps[at - 9 : at - 1], steps[at : at + 8]])
                found.append(float(steps[at - 1] / around.mean()))
    return found
