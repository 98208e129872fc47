"""Presets: what may be named, and the sentences that say why not."""

from __future__ import annotations

import pytest

from library.presets import PRESET_FIELDS, check_presets, describe_recipe, usable_presets
from studio.core.errors import InvalidInputError

DRAFT: dict[str, object] = {"name": "Draft", "recipe": {"num_inference_steps": 8}}


def draft(**recipe: object) -> dict[str, object]:
    return {"name": "Draft", "recipe": recipe}


def refusal_of(*presets: object) -> tuple[str, str]:
    """Code and sentence."""
    with pytest.raises(InvalidInputError) as caught:
        check_presets(presets)
    (problem,) = caught.value.problems
    assert problem.field == "presets"
    return problem.code, caught.value.message


def test_a_preset_is_kept_as_a_recipe_would_hold_it() -> None:
    (preset,) = check_presets(
        [{"name": " Quick ", "recipe": {"width": "192", "guidance_scale": 4}}]
    )
    assert preset == {"name": "Quick", "recipe": {"guidance_scale": 4.0, "width": 192}}


def test_all_that_may_be_set_can_be_set() -> None:
    recipe = {
        "num_inference_steps": 24,
        "guidance_scale": 4.5,
        "sampler": "unipc",
        "width": 192,
        "height": 128,
        "clip_skip": 0,
    }
    assert set(recipe) == set(PRESET_FIELDS)
    (preset,) = check_presets([draft(**recipe)])
    assert preset["recipe"] == recipe


@pytest.mark.parametrize("field", ["seed", "prompt", "model", "num_images_per_prompt", "stepz"])
def test_what_a_preset_may_not_set_is_answered_with_what_it_may(field: str) -> None:
    assert refusal_of(draft(**{field: 1})) == (
        "unknown_field",
        f"The preset 'Draft' sets '{field}'; a preset may only set num_inference_steps, "
        "guidance_scale, sampler, width, height, clip_skip.",
    )


@pytest.mark.parametrize(
    ("recipe", "code", "why"),
    [
        ({"num_inference_steps": 0}, "out_of_range", "Steps is 0; choose from 1 to 150."),
        ({"guidance_scale": 31}, "out_of_range", "Guidance is 31; choose from 0 to 30."),
        ({"width": 100}, "not_a_multiple", "Width is 100; it must be a multiple of 8"),
        ({"height": 0}, "out_of_range", "Height is 0; choose from 64 to 2048."),
        ({"clip_skip": 13}, "out_of_range", "Clip skip is 13; choose from 0 to 12."),
        ({"sampler": "magic"}, "unknown_sampler", "There is no sampler 'magic'."),
        ({"num_inference_steps": True}, "not_a_number", "Steps must be a number."),
        ({"guidance_scale": float("nan")}, "not_a_number", "Guidance must be a number."),
        ({"width": [], "height": 65}, "not_a_number", "Width must be a number. Height is 65;"),
    ],
)
def test_a_value_is_checked_as_in_a_recipe(recipe: dict[str, object], code: str, why: str) -> None:
    found, sentence = refusal_of(draft(**recipe))
    assert found == code
    assert sentence.startswith(f"The preset 'Draft' cannot be used. {why}")


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", None), ("width", ""), ("sampler", ""), ("sampler", 0), ("sampler", False)],
)
def test_what_a_recipe_reads_as_the_default_is_no_choice(field: str, value: object) -> None:
    sentence = f"The preset 'Draft' has no usable value for '{field}'."
    assert refusal_of(draft(**{field: value})) == ("no_value", sentence)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_preset_needs_a_name(name: object) -> None:
    nameless = {"name": name, "recipe": {"width": 64}}
    assert refusal_of(DRAFT, nameless) == ("bad_name", "Preset 2 has no name.")


def test_a_long_name_is_answered_with_both_lengths() -> None:
    assert check_presets([{"name": "x" * 40, "recipe": {"width": 64}}])
    assert refusal_of({"name": "x" * 41, "recipe": {"width": 64}}) == (
        "bad_name",
        "The name of preset 1 has 41 characters; at most 40 fit. Shorten it.",
    )


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("two\nlines", "U+000A"),
        ("nul\x00", "U+0000"),
        ("half \ud800", "U+D800"),
        ("Stan\u200bdard", "U+200B"),
        ("no\u00a0break", "U+00A0"),
        ("\U000e0041tag", "U+E0041"),
    ],
)
def test_a_character_of_a_name_that_nobody_can_see_is_named(name: str, point: str) -> None:
    assert refusal_of({"name": name, "recipe": {"width": 64}}) == (
        "bad_name",
        f"The name of preset 1 contains {point}, a line break or a character that cannot be "
        "shown; remove it.",
    )


def test_two_presets_of_one_name_are_refused() -> None:
    again = {"name": "draft ", "recipe": {"width": 64}}
    assert refusal_of(DRAFT, again) == (
        "duplicate_name",
        "Two presets have the name 'draft'; give each its own.",
    )


def test_more_than_eight_presets_are_refused() -> None:
    many = [{"name": f"Number {n}", "recipe": {"width": 64}} for n in range(9)]
    assert len(check_presets(many[:8])) == 8
    assert refusal_of(*many) == (
        "too_many",
        "There are 9 presets; a model can have at most 8.",
    )


@pytest.mark.parametrize("entry", ["Draft", None, {}, {"name": "Draft"}, {**DRAFT, "x": 1}])
def test_what_is_no_preset_is_refused(entry: object) -> None:
    assert refusal_of(entry) == (
        "bad_shape",
        "Preset 1 must be an object with a name and a recipe, and nothing else.",
    )


@pytest.mark.parametrize("recipe", [{}, None, [], "width"])
def test_a_preset_that_sets_nothing_is_refused(recipe: object) -> None:
    entry = {"name": "Draft", "recipe": recipe}
    assert refusal_of(entry) == ("bad_shape", "The preset 'Draft' sets nothing.")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            {"num_inference_steps": 20, "sampler": "unipc", "guidance_scale": 4.0},
            "20 steps, UniPC, guidance 4",
        ),
        ({"num_inference_steps": 1, "width": 192, "height": 128}, "1 step, 192 × 128"),
        (
            {"guidance_scale": 4.5, "height": 128, "clip_skip": 1},
            "guidance 4.5, height 128, clip skip 1",
        ),
        ({"sampler": "of_old"}, "of_old"),
    ],
)
def test_a_preset_is_described_in_the_words_of_the_room(
    recipe: dict[str, object], words: str
) -> None:
    assert describe_recipe(recipe) == words


def test_presets_that_no_longer_pass_are_left_out() -> None:
    gone = {"name": "Gone", "recipe": {"sampler": "of_old"}}
    tightened = {"name": "Tall", "recipe": {"height": 100_000}}
    assert usable_presets([gone, DRAFT, tightened, "nonsense"]) == [DRAFT]
    assert usable_presets([]) == []
