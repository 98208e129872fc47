"""`vae` and `refiner` of a recipe: read, written where they mean something, refused otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from gpuagent.protocol.recipe import RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe

PLAIN: dict[str, Any] = {"model": "a" * 64, "prompt": "a mug"}
VAE, REFINER = "b" * 64, "c" * 64


def problems(**more: object) -> list[tuple[str, str]]:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe({**PLAIN, **more})
    assert all(problem.message.endswith(".") for problem in caught.value.problems)
    return [(problem.field, problem.code) for problem in caught.value.problems]


def test_they_are_read_and_named_beside_the_model() -> None:
    recipe = parse_recipe({**PLAIN, "vae": VAE, "refiner": REFINER, "refiner_start": "0.7"})
    assert (recipe.vae, recipe.refiner, recipe.refiner_start) == (VAE, REFINER, 0.7)
    assert recipe.adapters == (VAE, REFINER)
    assert parse_recipe(recipe.to_wire()) == recipe


def test_recipes_without_them_are_as_they_were() -> None:
    plain = parse_recipe(PLAIN)
    assert not {"vae", "refiner", "refiner_start"} & set(plain.to_wire())
    empty = parse_recipe({**PLAIN, "vae": None, "refiner": "", "refiner_start": 0.5})
    assert empty.digest() == plain.digest()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"vae": "sharp"}, ("vae", "unknown_vae")),
        ({"refiner": 5}, ("refiner", "unknown_refiner")),
        ({"refiner": REFINER, "refiner_start": 1}, ("refiner_start", "out_of_range")),
        ({"refiner": "a" * 64}, ("refiner", "same_model")),
    ],
)
def test_what_cannot_be_is_told(more: dict[str, object], problem: tuple[str, str]) -> None:
    assert problems(**more) == [problem]


def test_the_model_hands_over_after_its_share_of_what_is_left() -> None:
    from_words = parse_recipe({**PLAIN, "refiner": REFINER, "refiner_start": 0.7})
    assert from_words.handover == 0.7
    half = {"image": "d" * 64, "strength": 0.5, "num_inference_steps": 20}
    from_picture = parse_recipe({**PLAIN, **half, "refiner": REFINER})
    assert from_picture.handover == pytest.approx(1 - 0.5 * 0.2)
    assert parse_recipe(from_picture.to_wire()) == from_picture


def test_a_refiner_goes_with_masks_and_with_a_larger_drawing() -> None:
    for more in ({"image": "d" * 64, "mask": "e" * 64}, {"hires_scale": 2}):
        assert parse_recipe({**PLAIN, "refiner": REFINER, **more}).refiner == REFINER
