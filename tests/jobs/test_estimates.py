"""What a recipe costs: the work in it, a prior, and what runs teach."""

from __future__ import annotations

import random

import pytest

from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.estimates import (
    OUTLIER_FACTOR,
    Learned,
    blend,
    estimate_cost,
    learn,
    passes_of,
    prior_seconds,
    step_keys,
)

SD15_BYTES = 2_133_000_000


def recipe(**values: object) -> Recipe:
    return parse_recipe({"model": "0" * 64, "prompt": "x", "seed": 1, **values})


def test_work_grows_with_pictures_and_pixels() -> None:
    one = passes_of(recipe(width=512, height=512))
    assert passes_of(recipe(width=512, height=512, num_images_per_prompt=4)) == 4 * one
    assert passes_of(recipe(width=1024, height=512)) == 2 * one
    assert passes_of(recipe(width=512, height=512), pictures=3) == 3 * one


def test_guidance_and_samplers_of_second_order_double_the_work() -> None:
    plain = passes_of(recipe(num_inference_steps=98, guidance_scale=1, sampler="euler"))
    assert passes_of(recipe(num_inference_steps=98, guidance_scale=5, sampler="euler")) == 2 * plain
    heun = passes_of(recipe(num_inference_steps=98, guidance_scale=1, sampler="heun"))
    assert heun == pytest.approx(plain * (2 * 98 + 2) / (98 + 2))


def test_a_starting_picture_leaves_out_steps() -> None:
    whole = passes_of(recipe(num_inference_steps=50))
    assert passes_of(recipe(num_inference_steps=50, image="a" * 64, strength=0.5)) < whole


def test_the_prior_is_of_the_right_order() -> None:
    """SD 1.5 at 512 × 512, 20 steps, guided: seconds on a GPU, minutes on a CPU."""
    usual = recipe(width=512, height=512, num_inference_steps=20)

    def seconds(gpu_class: str) -> float:
        rate = prior_seconds(weights_bytes=SD15_BYTES, gpu_class=gpu_class)
        return estimate_cost(usual, weights_bytes=SD15_BYTES, seconds_per_pass=rate).seconds

    assert 0.5 < seconds("NVIDIA H200") < 10
    assert 100 < seconds("cpu") < 4_000
    assert seconds("") == seconds("cpu")


def test_sizes_are_learned_apart() -> None:
    small, large = recipe(width=128, height=128), recipe(width=1024, height=1024)
    assert step_keys("d", small)[0] != step_keys("d", large)[0]
    assert step_keys("d", small)[1] == step_keys("d", large)[1] == "d"


def test_twenty_runs_outweigh_the_prior_and_follow_a_change() -> None:
    known = None
    for _ in range(20):
        known = learn(known, 2.0)
    assert blend(100.0, known) < 20
    for _ in range(60):
        known = learn(known, 6.0)
    assert known is not None
    assert known.mean_seconds == pytest.approx(6.0, rel=0.06)


def test_one_run_that_took_a_thousand_times_as_long_moves_little() -> None:
    known = None
    for _ in range(20):
        known = learn(known, 1.0)
    moved = learn(known, 1_000.0)
    assert moved.mean_seconds <= 1.0 + (OUTLIER_FACTOR - 1) / 10


def test_a_slow_first_run_is_forgotten() -> None:
    """Such as one in which kernels were compiled."""
    known = learn(None, 20.0)
    for _ in range(30):
        known = learn(known, 1.0)
    assert known.mean_seconds < 2


def test_noise_is_averaged_and_told_as_deviation() -> None:
    chance, known = random.Random(1), None  # noqa: S311  # to be repeatable, not secret
    for _ in range(400):
        known = learn(known, chance.uniform(0.8, 1.2))
    assert known is not None
    assert known.mean_seconds == pytest.approx(1.0, abs=0.1)
    assert known.deviation_seconds == pytest.approx(0.1, abs=0.05)


def test_without_runs_the_prior_stands() -> None:
    assert blend(3.0, None) == 3.0
    assert blend(3.0, Learned(mean_seconds=3.0, weight=5.0)) == pytest.approx(3.0)
