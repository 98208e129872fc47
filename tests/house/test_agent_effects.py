"""What settings do to pictures that the agent's own code makes, seen by the house model's judge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS
from house.judge import Judge
from house.recipe import MODEL

THINGS = (("mug", "red"), ("car", "blue"), ("house", "green"))
FEW_STEPS = {"lcm": 8, "tcd": 8}


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


def make(model: StableDiffusion15, prompt: str, seeds: range, **settings: object) -> torch.Tensor:
    """Pictures `[n, 3, 128, 128]` of -1 to 1."""
    recipe = Recipe(
        model="a" * 64,
        prompt=prompt,
        guidance_scale=4.0,
        seed=seeds.start,
        num_images_per_prompt=len(seeds),
        **settings,  # type: ignore[arg-type]  # fields of the recipe
    )
    embeddings = model.encode_prompts(recipe)
    pictures = [
        model.decode(model.denoise(recipe, index, embeddings)) for index in range(len(seeds))
    ]
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return stacked / 127.5 - 1


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_draws_what_is_asked(
    sampler: str, model: StableDiffusion15, judge: Judge
) -> None:
    steps = FEW_STEPS.get(sampler, 20)
    for kind, color in THINGS:
        prompt = f"photo of a {color} {kind} on a wooden table"
        made = make(model, prompt, range(1), sampler=sampler, num_inference_steps=steps)
        seen = judge.answers(made)
        assert (seen["kind"], seen["colour"]) == ([kind], [color])


def test_a_weight_decides_between_two_colors(model: StableDiffusion15, judge: Judge) -> None:
    reds = {}
    for weight in (0.5, 1, 2, 3):
        prompt = f"photo of a (red:{weight}) blue mug on a wooden table"
        reds[weight] = judge.answers(make(model, prompt, range(8)))["colour"].count("red")
    assert reds[0.5] == reds[1] == 0, reds
    assert reds[2] >= 6, reds
    assert reds[3] == 8, reds
