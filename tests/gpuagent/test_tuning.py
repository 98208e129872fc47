"""Settings that tune a drawing: what they do to numbers, exactly."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch

from gpuagent.pipelines.family import Family
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.tiling import TiledDenoiser, decode_tiles, tiles
from gpuagent.pipelines.variations import mix
from gpuagent.planning.hires import starts, tiles_of
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import SAMPLERS
from gpuagent.protocol.tuning import SIGMAS, takes_sigmas

PLAIN = Recipe(
    model="a" * 64,
    prompt="photo of a red mug on a wooden table",
    guidance_scale=4.0,
    num_inference_steps=8,
    seed=3,
)


def drawn(model: Family, recipe: Recipe, index: int = 0) -> torch.Tensor:
    return model.denoise(recipe, index, model.encode_prompts(recipe))


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().mean())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_takes_sigmas_if_diffusers_lets_it(sampler: str) -> None:
    made = getattr(diffusers, SAMPLERS[sampler].class_name)
    known = inspect.signature(made.__init__).parameters
    assert takes_sigmas(SAMPLERS[sampler]) == all(flag in known for flag in SIGMAS.values())


def test_guidance_that_ends_is_that_of_the_steps_before(house: StableDiffusion15) -> None:
    whole = drawn(house, PLAIN)
    assert torch.equal(drawn(house, replace(PLAIN, guidance_end=1.0)), whole)
    near = distance(drawn(house, replace(PLAIN, guidance_end=0.75)), whole)
    far = distance(drawn(house, replace(PLAIN, guidance_end=0.25)), whole)
    none = distance(drawn(house, replace(PLAIN, guidance_scale=1.0)), whole)
    assert 0 < near < far < none


def test_after_the_end_of_guidance_half_is_computed(house: StableDiffusion15) -> None:
    seen: list[int] = []
    kept = house._cut_off._forward

    def counting(*given: torch.Tensor, **named: object) -> object:
        seen.append(given[0].shape[0])
        return kept(*given, **named)

    house._cut_off._forward = counting
    try:
        drawn(house, replace(PLAIN, guidance_end=0.5))
    finally:
        house._cut_off._forward = kept
    assert seen == [2] * 4 + [1] * 4


def test_the_end_of_guidance_leaves_nothing_behind(house: StableDiffusion15) -> None:
    before = drawn(house, PLAIN)

    class Stopped(Exception):
        pass

    def stop(done: int, _of: int, _peek: object) -> None:
        if done == 6:
            raise Stopped

    recipe = replace(PLAIN, guidance_end=0.5)
    with pytest.raises(Stopped):
        house.denoise(recipe, 0, house.encode_prompts(recipe), watch=Watch(step=stop))
    assert torch.equal(drawn(house, PLAIN), before)


def test_variations_move_away_with_their_strength_and_zero_is_the_same(
    house: StableDiffusion15,
) -> None:
    recipe = replace(PLAIN, variation_seed=77)
    before = drawn(house, PLAIN)
    moved = [
        distance(drawn(house, replace(recipe, variation_strength=strength)), before)
        for strength in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert moved[1] > 0
    other = drawn(house, replace(PLAIN, seed=77))
    assert torch.equal(drawn(house, replace(recipe, variation_strength=1.0)), other)


def test_variations_repeat_one_by_one(house: StableDiffusion15) -> None:
    recipe = replace(PLAIN, variation_seed=77, variation_strength=0.2, num_images_per_prompt=3)
    made = [drawn(house, recipe, index) for index in range(3)]
    assert distance(made[0], made[1]) > 0
    for index in range(3):
        assert recipe.seed_of(index) == PLAIN.seed
        assert torch.equal(drawn(house, recipe.only(index)), made[index])
    assert torch.equal(drawn(house, PLAIN), drawn(house, PLAIN)), "nothing is left behind"


def test_mixed_noise_is_as_loud_as_noise() -> None:
    first, second = (torch.randn(1, 4, 32, 32, generator=torch.manual_seed(n)) for n in (1, 2))
    for strength in (0.1, 0.5, 0.9):
        assert abs(float(mix(first, second, strength).std()) - 1) < 0.03
    assert torch.equal(mix(first, first, 0.5), first)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({"sigmas": "beta", "sampler": "ddim"}, "not_with_sampler"),
        ({"sigmas": "cosine"}, "unknown_sigmas"),
        ({"guidance_end": 0}, "out_of_range"),
        ({"variation_strength": 1.1}, "out_of_range"),
        ({"hires_scale": 1}, "out_of_range"),
        ({"hires_scale": 2, "hires_upscaler": "best"}, "unknown_upscaler"),
        ({"hires_scale": 2, "hires_tile": 100}, "not_a_multiple"),
        ({"hires_scale": 4, "width": 2048, "height": 2048}, "result_too_large"),
        ({"hires_scale": 2, "image": "b" * 64, "mask": "c" * 64}, "not_with_mask"),
        ({"strength": 0, "image": "b" * 64}, "out_of_range"),
    ],
)
def test_what_cannot_be_tuned_is_told(raw: dict[str, object], code: str) -> None:
    with pytest.raises(RecipeInvalidError) as refused:
        parse_recipe({"model": "a" * 64, "prompt": "x", **raw})
    assert [problem.code for problem in refused.value.problems] == [code]


def test_what_means_nothing_is_not_written() -> None:
    plain = parse_recipe({"model": "a" * 64, "prompt": "x"})
    idle = {
        "sigmas": "karras",  # which the default sampler does anyway
        "guidance_end": 1,
        "variation_seed": 5,
        "hires_tile": 64,
        "hires_scale": 0,
    }
    same = parse_recipe({"model": "a" * 64, "prompt": "x", **idle})
    assert same == plain
    assert same.digest() == plain.digest()
    said = parse_recipe({"model": "a" * 64, "prompt": "x", "hires_scale": 2, "guidance_end": 0.5})
    assert parse_recipe(said.to_wire()) == said


@pytest.mark.parametrize("length", [1, 16, 17, 24, 31, 32, 33, 100, 960])
def test_tiles_cover_everything_and_overlap(length: int) -> None:
    found = starts(length, 16)
    assert found[0] == 0
    assert found[-1] + min(16, length) == length
    assert all(0 < b - a <= 12 for a, b in pairwise(found))


def test_blended_tiles_of_a_field_are_the_field() -> None:
    field = np.random.default_rng(1).random((50, 33)).astype(np.float32)
    made, total = np.zeros_like(field), np.zeros_like(field)
    for tile in tiles(50, 33, 16):
        made[tile.rows, tile.columns] += field[tile.rows, tile.columns] * tile.weights
        total[tile.rows, tile.columns] += tile.weights
    assert np.allclose(made / total, field, atol=1e-5)


def test_a_denoiser_in_tiles_sees_each_place_with_all_that_lies_over_it() -> None:
    class Echo:
        """Answers with what it is given, so that whatever is cut wrongly shows."""

        def forward(
            self, sample: torch.Tensor, _t: int, **named: torch.Tensor
        ) -> tuple[torch.Tensor]:
            assert sample.shape[-1] <= 16
            assert sample.shape[-2] <= 16
            coarse = named["hint"].repeat_interleave(2, 2).repeat_interleave(2, 3)
            return (sample + coarse[..., : sample.shape[-2], : sample.shape[-1]],)

    echo, checks = Echo(), []
    tiled = TiledDenoiser(echo, 8)
    sample = torch.arange(40.0 * 56).reshape(1, 1, 40, 56)
    with tiled.of(128, lambda: checks.append(1)):
        (made,) = echo.forward(sample, 0, hint=torch.zeros(1, 1, 20, 28))
    assert torch.allclose(made, sample)
    assert len(checks) == len(starts(40, 16)) * len(starts(56, 16)) == 15


def test_decoding_in_tiles_has_no_seams_of_its_own() -> None:
    latents = torch.linspace(0, 1, 64)[None, None, None].repeat(1, 3, 48, 1)

    def decode(part: torch.Tensor) -> np.ndarray:
        pixels = (part[0] * 255).round().byte().permute(1, 2, 0).numpy()
        return pixels.repeat(8, 0).repeat(8, 1)

    assert np.abs(decode_tiles(latents, 128, 8, decode).astype(int) - decode(latents)).max() <= 1


def test_tiles_are_counted_as_they_are_drawn() -> None:
    recipe = replace(PLAIN, width=128, height=192, hires_scale=3.0, hires_tile=192)
    width, height = recipe.result_size
    assert (width, height) == (384, 576)
    assert tiles_of(recipe) == len(tiles(height // 8, width // 8, 24))


def test_what_wraps_the_denoiser_works_together(house: StableDiffusion15) -> None:
    """In halves, without guidance in the end, in tiles: each alone and all at once."""
    recipe = replace(PLAIN, width=192, height=192, guidance_end=0.5, variation_strength=0.1)
    embeddings = house.encode_prompts(recipe)
    calls: list[tuple[int, int]] = []
    inner = house._guidance._forward

    def counting(*given: torch.Tensor, **named: object) -> object:
        calls.append((given[0].shape[0], given[0].shape[-1]))
        return inner(*given, **named)

    house._guidance._forward = counting
    try:
        with house.tiles.of(128, lambda: None):
            whole = house.denoise(recipe, 0, embeddings)
            together = list(calls)
            calls.clear()
            house._guidance.is_split = True
            halves = house.denoise(recipe, 0, embeddings)
    finally:
        house._guidance._forward = inner
        house._guidance.is_split = False
    assert together == [(2, 16)] * 4 * 4 + [(1, 16)] * 4 * 4
    assert calls == [(1, 16)] * 8 * 4 + [(1, 16)] * 4 * 4
    assert distance(whole, halves) < 1e-3
    assert torch.equal(drawn(house, PLAIN), drawn(house, PLAIN))


@pytest.mark.parametrize(
    "beside",
    [
        {"image": "d" * 64, "strength": 0, "references": [{"image": "b" * 64}]},
    ],
)
def test_drawing_larger_says_what_it_cannot_be_combined_with(beside: dict[str, object]) -> None:
    with pytest.raises(RecipeInvalidError) as refused:
        parse_recipe({"model": "a" * 64, "prompt": "x", "hires_scale": 2, **beside})
    assert [problem.code for problem in refused.value.problems] == ["not_with_hires"]
