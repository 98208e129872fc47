"""The recipe: what is refused, and that both sides read the same out of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.protocol.recipe import (
    PICTURES_MAX,
    SEED_MAX,
    Recipe,
    RecipeInvalidError,
    parse_recipe,
)
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS

MODEL = "a" * 64
VALID: dict[str, object] = {"model": MODEL, "prompt": "a mug"}

recipes = st.builds(
    Recipe,
    model=st.just(MODEL),
    prompt=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1).filter(
        str.strip
    ),
    negative_prompt=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=50),
    num_inference_steps=st.integers(1, 150),
    guidance_scale=st.floats(0, 30),
    width=st.integers(8, 256).map(lambda n: n * 8),
    height=st.integers(8, 256).map(lambda n: n * 8),
    seed=st.integers(0, SEED_MAX),
    sampler=st.sampled_from(list(SAMPLERS)),
    num_images_per_prompt=st.integers(1, PICTURES_MAX),
    clip_skip=st.integers(0, 12),
    image=st.none() | st.just("b" * 64),
    strength=st.floats(0.05, 1.0),
)


@given(recipes)
def test_recipe_survives_the_wire(recipe: Recipe) -> None:
    assert parse_recipe(recipe.to_wire()) == recipe


@given(recipes)
def test_pictures_of_a_recipe_can_each_be_made_alone(recipe: Recipe) -> None:
    for index in range(recipe.num_images_per_prompt):
        alone = recipe.only(index)
        assert alone.num_images_per_prompt == 1
        assert alone.seed_of(0) == recipe.seed_of(index)
        assert parse_recipe(alone.to_wire()) == alone


@given(recipes, recipes)
def test_digest_is_equal_just_for_equal_recipes(first: Recipe, second: Recipe) -> None:
    assert (first.digest() == second.digest()) == (first == second)


@given(recipes)
def test_denoising_steps_lie_between_one_and_all(recipe: Recipe) -> None:
    assert 1 <= recipe.denoising_steps <= recipe.num_inference_steps


def test_seeds_wrap_around() -> None:
    recipe = Recipe(model=MODEL, prompt="x", seed=SEED_MAX)
    assert [recipe.seed_of(i) for i in range(3)] == [SEED_MAX, 0, 1]


def test_defaults_are_what_a_bare_request_gets() -> None:
    recipe = parse_recipe(VALID)
    assert recipe == Recipe(model=MODEL, prompt="a mug")
    assert recipe.sampler == DEFAULT_SAMPLER


def test_numbers_from_a_form_are_read() -> None:
    recipe = parse_recipe({**VALID, "width": "256", "guidance_scale": "7.5", "seed": ""})
    assert (recipe.width, recipe.guidance_scale, recipe.seed) == (256, 7.5, 0)


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"prompt": "  "}, "prompt", "required"),
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": 7}, "prompt", "not_text"),
        ({"prompt": "x" * 4001}, "prompt", "too_long"),
        ({"prompt": "a\x00b"}, "prompt", "null_character"),
        ({"model": "nonsense"}, "model", "unknown_model"),
        ({"model": "A" * 64}, "model", "unknown_model"),
        ({"width": 100}, "width", "not_a_multiple"),
        ({"width": 4096}, "width", "out_of_range"),
        ({"height": 0}, "height", "out_of_range"),
        ({"height": "wide"}, "height", "not_a_number"),
        ({"num_inference_steps": 0}, "num_inference_steps", "out_of_range"),
        ({"num_inference_steps": 2.5}, "num_inference_steps", "not_a_number"),
        ({"num_inference_steps": True}, "num_inference_steps", "not_a_number"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "not_a_number"),
        ({"guidance_scale": -1}, "guidance_scale", "out_of_range"),
        ({"seed": 2**32}, "seed", "out_of_range"),
        ({"seed": -1}, "seed", "out_of_range"),
        ({"seed": 10**400}, "seed", "not_a_number"),
        ({"prompt": "half a \ud83d face"}, "prompt", "not_text"),
        ({"sampler": "magic"}, "sampler", "unknown_sampler"),
        ({"num_images_per_prompt": 17}, "num_images_per_prompt", "out_of_range"),
        ({"clip_skip": 13}, "clip_skip", "out_of_range"),
        ({"image": "holiday.jpg"}, "image", "unknown_image"),
        ({"strength": 0.01}, "strength", "out_of_range"),
        ({"cfg": 7}, "cfg", "unknown_field"),
        ({"version": 2}, "version", "unknown_version"),
    ],
)
def test_recipe_is_refused(change: dict[str, object], field: str, code: str) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe({**VALID, **change})
    assert [(p.field, p.code) for p in caught.value.problems] == [(field, code)]
    assert caught.value.problems[0].message.endswith((".", "?"))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe({"model": "x", "width": 3, "steps": 4})
    assert {p.field for p in caught.value.problems} == {"model", "prompt", "width", "steps"}


anything = st.none() | st.text() | st.integers() | st.floats() | st.booleans() | st.binary()


@given(st.dictionaries(st.sampled_from(list(Recipe.__dataclass_fields__)), anything))
def test_whatever_comes_is_read_or_refused(raw: dict[str, Any]) -> None:
    try:
        recipe = parse_recipe(raw)
    except RecipeInvalidError as error:
        assert error.problems
    else:
        assert parse_recipe(recipe.to_wire()) == recipe
