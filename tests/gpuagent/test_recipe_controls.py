"""Controls in recipes: read, refused, written, counted among the inputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe

MODEL, NET, PICTURE, OTHER = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
CANNY: dict[str, Any] = {"kind": "canny", "model": NET, "image": PICTURE}


def parsed(*controls: object, **settings: object) -> Recipe:
    return parse_recipe({"model": MODEL, "prompt": "x", "controls": list(controls), **settings})


def problems(*controls: object) -> list[tuple[str, str]]:
    with pytest.raises(RecipeInvalidError) as caught:
        parsed(*controls)
    return [(problem.code, problem.message) for problem in caught.value.problems]


def test_a_control_is_read_with_its_defaults_and_written_as_it_is_read() -> None:
    recipe = parsed(CANNY)
    (use,) = recipe.controls
    assert (use.weight, use.start, use.end, use.low, use.high) == (1, 0, 1, 6, 16)
    wire = json.loads(json.dumps(recipe.to_wire()))
    assert wire["controls"] == [
        {**CANNY, "weight": 1, "start": 0, "end": 1, "low": 6, "high": 16},
    ]
    assert parse_recipe(wire) == recipe
    assert parse_recipe(wire).digest() == recipe.digest()


def test_a_form_sends_them_as_text() -> None:
    raw = {"model": MODEL, "prompt": "x", "controls": json.dumps([CANNY])}
    assert parse_recipe(raw) == parsed(CANNY)


def test_a_recipe_without_controls_is_written_as_ever() -> None:
    assert "controls" not in parsed().to_wire()
    assert parsed() == parsed({**CANNY, "weight": 0})


def test_pictures_and_networks_are_inputs_of_the_job_in_their_order() -> None:
    tile = {"kind": "tile", "model": OTHER, "map": OTHER}
    recipe = parsed(CANNY, tile, {**CANNY, "kind": "scribble"}, image=PICTURE)
    assert recipe.inputs == {
        "image": PICTURE,
        "control_1": PICTURE,
        "control_2": OTHER,
        "control_3": PICTURE,
    }
    assert recipe.adapters == (NET, OTHER)


def test_a_tile_follows_the_picture_itself_where_it_is_drawn_again() -> None:
    follows = {"kind": "tile", "model": NET}
    recipe = parsed(follows, hires_scale=2, image=PICTURE, strength=0)
    assert recipe.inputs == {"image": PICTURE}
    assert recipe.adapters == (NET,)
    assert recipe.to_wire()["controls"] == [{**follows, "weight": 1.0, "start": 0.0, "end": 1.0}]
    assert parse_recipe(recipe.to_wire()) == recipe
    # Nowhere else is there anything to follow
    assert [code for code, _ in problems(follows)] == ["needs_image"]
    with pytest.raises(RecipeInvalidError):
        parsed({"kind": "canny", "model": NET}, hires_scale=2)


def test_thresholds_belong_to_a_canny_map_that_is_made() -> None:
    given = {"low": 3, "high": 20}
    assert parsed({**CANNY, **given}).to_wire()["controls"] != parsed(CANNY).to_wire()["controls"]
    ready = {"kind": "canny", "model": NET, "map": PICTURE}
    assert parsed({**ready, **given}) == parsed(ready)
    assert parsed({**CANNY, "kind": "tile", **given}) == parsed({**CANNY, "kind": "tile"})


def test_an_upscale_has_none() -> None:
    raw = {"model": MODEL, "image": PICTURE, "scale": 2, "controls": [CANNY]}
    assert parse_recipe(raw).controls == ()


@pytest.mark.parametrize(
    ("control", "code", "words"),
    [
        (7, "not_a_control", "write it as"),
        ({**CANNY, "kind": "magic"}, "unknown_kind", "Choose one of: canny"),
        ({**CANNY, "kind": ["canny"]}, "unknown_kind", "Choose one of"),
        ({**CANNY, "model": "x"}, "unknown_control", "GET controls"),
        ({**CANNY, "image": "x"}, "unknown_image", "picture is not known"),
        ({**CANNY, "image": None}, "needs_image", "no picture to follow"),
        ({**CANNY, "map": PICTURE}, "picture_and_map", "a picture and a map"),
        ({**CANNY, "kind": "depth", "mapper": "x"}, "unknown_mapper", "what makes its map"),
        ({**CANNY, "weight": 2.5}, "out_of_range", "2.5; choose from 0 to 2"),
        ({**CANNY, "weight": "much"}, "not_a_number", "weight must be a number"),
        ({**CANNY, "start": -0.1}, "out_of_range", "start is -0.1"),
        ({**CANNY, "start": 0.5, "end": 0.5}, "ends_before_start", "end must come later"),
        ({**CANNY, "low": 30, "high": 20}, "low_above_high", "Swap them"),
        ({**CANNY, "low": 1.5}, "not_a_number", "whole number"),
        ({**CANNY, "high": 200}, "out_of_range", "200; choose from 1 to 100"),
        ({**CANNY, "wieght": 1}, "unknown_field", "'wieght'"),
    ],
)
def test_every_mistake_is_told_with_the_number_of_the_control(
    control: object, code: str, words: str
) -> None:
    (found,) = problems(CANNY, control)
    assert found[0] == code
    assert found[1].startswith("Control 2: ")
    assert words in found[1]


def test_more_than_three_are_refused() -> None:
    (found,) = problems(*[CANNY] * 4)
    assert found == ("too_many", "There are 4 controls; at most 3 can be used together.")
