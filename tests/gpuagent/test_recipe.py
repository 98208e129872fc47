"""The recipe: what is refused, and that both sides read the same out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.protocol.recipe import (
    MASK_BLUR_MAX,
    MASK_PADDING_MAX,
    PICTURES_MAX,
    SEED_MAX,
    Recipe,
    RecipeInvalidError,
)
from gpuagent.protocol.recipe_checks import KEPT_MIN
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS, InpaintArea

MODEL = "a" * 64
VALID: dict[str, object] = {"model": MODEL, "prompt": "a mug"}

plain_recipes = st.builds(
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


@st.composite
def recipes_with_more(draw: st.DrawFn) -> Recipe:
    """A recipe of any mode: words alone, a picture, a mask, an extension."""
    recipe = draw(plain_recipes)
    mode = draw(st.sampled_from(("plain", "mask", "extend")))
    if mode == "plain":
        return recipe
    recipe = replace(recipe, image="b" * 64, mask_blur=draw(st.integers(0, MASK_BLUR_MAX)))
    if mode == "mask":
        return replace(
            recipe,
            mask="c" * 64,
            inpaint_area=draw(st.sampled_from(InpaintArea)),
            mask_padding=draw(st.integers(0, MASK_PADDING_MAX)),
        )
    sides = [
        draw(st.integers(0, (side - KEPT_MIN) // 16)) * 8 for side in (recipe.width, recipe.height)
    ]
    return replace(
        recipe, outpaint_left=8, outpaint_right=max(0, sides[0] - 8), outpaint_bottom=sides[1]
    )


recipes = recipes_with_more()


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
        ({"mask": "mask.png", "image": "b" * 64}, "mask", "unknown_image"),
        ({"mask": "c" * 64}, "mask", "needs_image"),
        ({"mask_blur": -1}, "mask_blur", "out_of_range"),
        ({"mask_blur": 65}, "mask_blur", "out_of_range"),
        ({"mask_padding": 513}, "mask_padding", "out_of_range"),
        ({"mask_padding": "wide"}, "mask_padding", "not_a_number"),
        ({"inpaint_area": "all"}, "inpaint_area", "unknown_area"),
        ({"inpaint_area": ["whole"]}, "inpaint_area", "unknown_area"),
        ({"inpaint_area": "masked"}, "inpaint_area", "needs_mask"),
        ({"inpaint_area": "masked", "image": "b" * 64}, "inpaint_area", "needs_mask"),
        ({"outpaint_top": 8}, "outpaint_top", "needs_image"),
        ({"outpaint_top": 7, "image": "b" * 64}, "outpaint_top", "not_a_multiple"),
        ({"outpaint_top": -8, "image": "b" * 64}, "outpaint_top", "out_of_range"),
        ({"outpaint_left": 104, "image": "b" * 64}, "outpaint_left", "leaves_too_little"),
        (
            {"outpaint_left": 56, "outpaint_right": 48, "image": "b" * 64},
            "outpaint_left",
            "leaves_too_little",
        ),
        ({"outpaint_bottom": 128, "image": "b" * 64}, "outpaint_bottom", "leaves_too_little"),
        (
            {"outpaint_right": 8, "image": "b" * 64, "mask": "c" * 64},
            "outpaint_right",
            "not_with_mask",
        ),
        ({"cfg": 7}, "cfg", "unknown_field"),
        ({"version": 2}, "version", "unknown_version"),
    ],
)
def test_recipe_is_refused(change: dict[str, object], field: str, code: str) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe({**VALID, **change})
    assert [(p.field, p.code) for p in caught.value.problems] == [(field, code)]
    assert caught.value.problems[0].message.endswith((".", "?"))


# Written by the release before masks: what is stored and what others hold must not change.
OLD_DIGESTS = {
    "fd61f86ad788f29e250d76c1eb9573617c0ee99f93b2688e1da2e3172b87806f": Recipe(
        model=MODEL, prompt="a mug"
    ),
    "54520fd1e5689846f4919b7bdd0ea13ee576960ec0548e9c261b2dfb1a80ee98": Recipe(
        model=MODEL, prompt="a mug", image="b" * 64, strength=0.4, seed=7
    ),
}


@pytest.mark.parametrize("digest", OLD_DIGESTS)
def test_recipes_without_a_mask_are_written_as_ever(digest: str) -> None:
    recipe = OLD_DIGESTS[digest]
    assert recipe.digest() == digest
    assert not {name for name in recipe.to_wire() if name.startswith(("mask", "outpaint", "inp"))}


@given(recipes)
def test_all_that_matters_is_written(recipe: Recipe) -> None:
    named = set(recipe.to_wire())
    assert ("inpaint_area" in named) == (recipe.mask is not None)
    assert ("outpaint_left" in named) == recipe.is_outpaint
    assert ("mask_blur" in named) == (recipe.is_outpaint or recipe.mask is not None)


def test_settings_of_a_mask_that_is_not_there_make_no_other_recipe() -> None:
    left_over = {"mask": "", "mask_blur": 9, "mask_padding": 0, "outpaint_left": "0"}
    assert parse_recipe({**VALID, **left_over}) == parse_recipe(VALID)


@pytest.mark.parametrize("more", [{"mask": "c" * 64}, {"outpaint_left": "32"}])
def test_what_is_made_anew_is_made_from_nothing_unless_something_else_is_said(
    more: dict[str, object],
) -> None:
    picture = {**VALID, "image": "b" * 64}
    assert parse_recipe(picture).strength == 0.7
    assert parse_recipe({**picture, **more}).strength == 1.0
    assert parse_recipe({**picture, **more, "strength": 0.5}).strength == 0.5


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
