"""A refiner where the picture starts from another one: as diffusers hands over, masks kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import StartingPicture
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.pipelines.steps import Watch
from gpuagent.protocol.recipe import Recipe

from .tiny_models import save_sdxl

SIZE = (96, 64)
RECIPE = Recipe(
    model="a" * 64,
    prompt="a red mug on a beach",
    num_inference_steps=10,
    width=SIZE[0],
    height=SIZE[1],
    sampler="euler",
    seed=3,
    image="b" * 64,
    strength=0.8,
    refiner="c" * 64,
    refiner_start=0.5,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> StableDiffusionXL:
    folder = tmp_path_factory.mktemp("base")
    save_sdxl(folder)
    return StableDiffusionXL(folder, engine)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> StableDiffusionXL:
    folder = tmp_path_factory.mktemp("refiner")
    save_sdxl(folder, is_refiner=True)
    return StableDiffusionXL(folder, engine)


def start_of(model: StableDiffusionXL, *, is_masked: bool) -> StartingPicture:
    values = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    mask = np.zeros((SIZE[1], SIZE[0]), np.float32)
    mask[:, 48:], mask[:, 32:48] = 1, 0.5
    return model.take_in(Image.fromarray(values), mask if is_masked else None)


def handed_over(
    base: StableDiffusionXL,
    refiner: StableDiffusionXL,
    recipe: Recipe,
    start: StartingPicture,
    watch: Watch | None = None,
) -> torch.Tensor:
    embeddings, its = base.encode_prompts(recipe), refiner.encode_prompts(recipe)
    first = base.denoise(recipe, 0, embeddings, start=start, watch=watch, until=recipe.handover)
    return refiner.refine(recipe, 0, its, first, start=start, watch=watch)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"strength": 1.0},
        {"strength": 0.3, "refiner_start": 0.8},
        {"sampler": "dpmpp_2m_karras"},
        {"sampler": "ddim"},
        {"variation_strength": 0.4, "variation_seed": 8},
    ],
)
def test_a_model_refined_by_itself_is_what_it_makes_alone(
    base: StableDiffusionXL, *, is_masked: bool, more: dict[str, Any]
) -> None:
    recipe = replace(RECIPE, **more)
    start = start_of(base, is_masked=is_masked)
    alone = base.denoise(recipe, 0, base.encode_prompts(recipe), start=start)
    off = (handed_over(base, base, recipe, start) - alone).abs()
    if more.get("sampler") == "dpmpp_2m_karras":  # it looks back, and begins anew at the handover
        assert float(off.mean()) < 0.05 * float(alone.abs().mean())
    else:
        assert float(off.max()) < 1e-4


def test_what_is_not_under_the_mask_is_the_starting_picture_to_the_last_bit(
    base: StableDiffusionXL, refiner: StableDiffusionXL
) -> None:
    start = start_of(base, is_masked=True)
    made = handed_over(base, refiner, RECIPE, start)
    alone = base.denoise(RECIPE, 0, base.encode_prompts(RECIPE), start=start)
    assert torch.equal(made[..., :4], alone[..., :4])
    assert not torch.allclose(made[..., 6:], alone[..., 6:], atol=0.01)


def test_it_is_what_plain_pipelines_of_diffusers_make(
    base: StableDiffusionXL, refiner: StableDiffusionXL
) -> None:
    start = start_of(base, is_masked=False)
    steps: list[int] = []
    watch = Watch(step=lambda done, _of, _peek: steps.append(done))
    made = handed_over(base, refiner, RECIPE, start, watch)
    assert steps == list(range(1, 9))

    def plain(model: StableDiffusionXL, picture: torch.Tensor, **share: float) -> torch.Tensor:
        pipeline = StableDiffusionXLImg2ImgPipeline(
            vae=model._vae,
            unet=model._denoiser,
            scheduler=make_scheduler("euler", model._scheduler_config),
            **model._components("img2img"),
        )
        pipeline.set_progress_bar_config(disable=True)
        latents: torch.Tensor = pipeline(
            **model._prompt_arguments(model.encode_prompts(RECIPE)),
            image=picture,
            num_inference_steps=10,
            guidance_scale=RECIPE.guidance_scale,
            generator=generator,
            output_type="latent",
            **share,
        ).images
        return latents

    generator = torch.Generator("cpu").manual_seed(RECIPE.seed)
    picture = base._scaled(start.posterior.sample(generator))
    # Of the eight tenths of the noise that are left the model takes half.
    first = plain(base, picture, strength=0.8, denoising_end=0.6)
    assert torch.equal(made, plain(refiner, first, denoising_start=0.6))


def test_few_steps_are_made_by_one_of_them(
    base: StableDiffusionXL, refiner: StableDiffusionXL
) -> None:
    for start, by in ((0.95, 0.05), (0.05, 0.95)):
        recipe = replace(RECIPE, num_inference_steps=2, strength=0.5, refiner_start=start)
        for is_masked in (False, True):
            made = handed_over(base, refiner, recipe, start_of(base, is_masked=is_masked))
            assert bool(made.isfinite().all()), by


def test_a_model_for_inpainting_refines_nothing(
    tmp_path: Path, engine: Engine, base: StableDiffusionXL
) -> None:
    save_sdxl(tmp_path, in_channels=9)
    other = StableDiffusionXL(tmp_path, engine)
    with pytest.raises(AttemptFailedError):
        handed_over(base, other, RECIPE, start_of(base, is_masked=False))
