"""Real pictures of the house model: what they show, and that they are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS

from .support import HOUSE

MUG = Recipe(model="a" * 64, prompt="a red mug on a table", num_inference_steps=8, seed=3)
Make = Callable[..., Pixels]


@pytest.fixture(scope="module")
def make(house: StableDiffusion15) -> Make:
    """Make one picture of a recipe."""

    def make_one(recipe: Recipe, index: int = 0, start: Image.Image | None = None) -> Pixels:
        taken_in = house.take_in(start) if start is not None else None
        embeddings = house.encode_prompts(recipe)
        return house.decode(house.denoise(recipe, index, embeddings, start=taken_in))

    return make_one


@pytest.fixture(scope="module")
def mug(make: Make) -> Pixels:
    """The picture of `MUG`."""
    return make(MUG)


def test_picture_shows_what_the_prompt_says(make: Make) -> None:
    reds: list[np.ndarray] = []
    blues: list[np.ndarray] = []
    for seed in range(3):
        for color, found in (("red", reds), ("blue", blues)):
            recipe = replace(MUG, prompt=f"a {color} car on grass", seed=seed)
            found.append(make(recipe)[32:96, 32:96].astype(float).mean((0, 1)))
    red, blue = np.mean(reds, 0), np.mean(blues, 0)
    assert red[0] - red[2] > blue[0] - blue[2] + 40


def test_picture_is_the_same_whatever_was_made_before(make: Make, mug: Pixels) -> None:
    make(replace(MUG, prompt="a green tree", sampler="heun", width=64, seed=9))
    make(replace(MUG, sampler="euler_a", guidance_scale=1.0))
    assert np.array_equal(make(MUG), mug)


def test_several_pictures_are_the_same_as_each_alone(make: Make) -> None:
    three = replace(MUG, num_images_per_prompt=3, seed=2**32 - 2)
    for index in range(3):
        assert np.array_equal(make(three, index), make(three.only(index)))


def test_pictures_of_different_seeds_differ(make: Make, mug: Pixels) -> None:
    other = make(replace(MUG, seed=4))
    assert np.abs(other.astype(int) - mug).mean() > 5


def test_picture_is_what_the_stock_pipeline_makes(mug: Pixels) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    stock = StableDiffusionPipeline.from_pretrained(
        HOUSE, safety_checker=None, dtype=torch.float32, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    image = stock(
        MUG.prompt,
        num_inference_steps=MUG.num_inference_steps,
        guidance_scale=MUG.guidance_scale,
        width=MUG.width,
        height=MUG.height,
        generator=torch.Generator("cpu").manual_seed(MUG.seed),
    ).images[0]
    assert np.array_equal(np.asarray(image), mug)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_makes_a_picture(make: Make, house: StableDiffusion15, sampler: str) -> None:
    recipe = replace(MUG, sampler=sampler, num_inference_steps=10)
    latents = house.denoise(recipe, 0, house.encode_prompts(recipe))
    assert bool(latents.isfinite().all())
    pixels = house.decode(latents)
    assert pixels.shape == (128, 128, 3)
    # DDIM with clipped samples comes out grey: little contrast, hardly any colour.
    saturation = pixels.max(2).astype(int) - pixels.min(2)
    assert pixels.std() > 40
    assert saturation.mean() > 25


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_step_is_told_once_and_in_order(house: StableDiffusion15, sampler: str) -> None:
    told: list[tuple[int, int]] = []
    watch = Watch(step=lambda done, of, _peek: told.append((done, of)))
    for steps in (1, 2, 7):
        told.clear()
        recipe = replace(MUG, sampler=sampler, num_inference_steps=steps, width=64, height=64)
        house.denoise(recipe, 0, house.encode_prompts(recipe), watch=watch)
        assert told == [(step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize("sampler", ["euler", "heun", "unipc"])
def test_cancel_stops_within_one_step(house: StableDiffusion15, sampler: str) -> None:
    class Canceled(Exception):
        pass

    steps: list[int] = []
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if steps and steps[-1] == 3:
            raise Canceled

    recipe = replace(MUG, sampler=sampler, num_inference_steps=20)
    watch = Watch(check=check, step=lambda done, _of, _peek: steps.append(done))
    with pytest.raises(Canceled):
        house.denoise(recipe, 0, house.encode_prompts(recipe), watch=watch)
    assert steps == [1, 2, 3]


def test_picture_after_a_canceled_one_is_the_same(
    house: StableDiffusion15, make: Make, mug: Pixels
) -> None:
    def check() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        house.denoise(MUG, 0, house.encode_prompts(MUG), watch=Watch(check=check))
    assert np.array_equal(make(MUG), mug)


def test_starting_picture_is_kept_the_more_the_lower_the_strength(make: Make, mug: Pixels) -> None:
    source = Image.fromarray(mug)
    recipe = replace(MUG, prompt="a blue mug on a table", image="b" * 64, seed=11)
    distances = []
    for strength in (0.1, 0.4, 0.7, 1.0):
        pixels = make(replace(recipe, strength=strength), start=source)
        distances.append(np.abs(pixels.astype(int) - mug).mean())
    assert distances == sorted(distances)
    assert distances[0] < 12 < 20 < distances[-1]


def test_starting_picture_gives_what_the_stock_pipeline_gives(make: Make, mug: Pixels) -> None:
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline

    stock = StableDiffusionImg2ImgPipeline.from_pretrained(
        HOUSE, safety_checker=None, dtype=torch.float32, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    recipe = replace(MUG, prompt="a blue mug", image="b" * 64, strength=0.5, seed=5)
    image = stock(
        recipe.prompt,
        image=Image.fromarray(mug),
        strength=0.5,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(5),
    ).images[0]
    assert np.array_equal(np.asarray(image), make(recipe, start=Image.fromarray(mug)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("steps", "strength"), [(1, 0.05), (7, 0.1), (5, 1.0)])
def test_starting_picture_takes_as_many_steps_as_the_recipe_says(
    house: StableDiffusion15, mug: Pixels, sampler: str, steps: int, strength: float
) -> None:
    told: list[int] = []
    recipe = replace(
        MUG, sampler=sampler, num_inference_steps=steps, strength=strength, image="b" * 64
    )
    start = house.take_in(Image.fromarray(mug))
    watch = Watch(step=lambda done, of, _peek: told.append(done) or told.append(-of))  # type: ignore[func-returns-value]  # both
    house.denoise(recipe, 0, house.encode_prompts(recipe), start=start, watch=watch)
    expected = recipe.denoising_steps
    assert told[::2] == list(range(1, expected + 1))
    assert set(told[1::2]) == {-expected}


def test_sampler_takes_training_facts_from_the_model_and_nothing_else() -> None:
    config = {
        "prediction_type": "v_prediction",
        "beta_schedule": "scaled_linear",
        "use_karras_sigmas": True,
        "algorithm_type": "sde-dpmsolver++",
        "clip_sample": True,
    }
    euler = make_scheduler("euler", config)
    assert euler.config.prediction_type == "v_prediction"
    assert euler.config.use_karras_sigmas is False
    assert make_scheduler("dpmpp_2m_karras", config).config.algorithm_type == "dpmsolver++"
    assert make_scheduler("ddim", config).config.clip_sample is False


def test_schedulers_are_fresh_for_every_picture() -> None:
    assert make_scheduler("euler", {}) is not make_scheduler("euler", {})


def test_sizes_other_than_square_are_made(make: Make) -> None:
    assert make(replace(MUG, width=192, height=64, num_inference_steps=2)).shape == (64, 192, 3)


def test_warm_up_changes_no_picture(
    engine: Engine, house: StableDiffusion15, make: Make, mug: Pixels
) -> None:
    house.warm_up()
    assert house.native_side == 128
    assert np.array_equal(make(MUG), mug)
    assert engine.fingerprint["threads"] == 1


def test_house_folder_is_what_the_agent_was_given() -> None:
    assert (HOUSE / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size > 9_000_000
