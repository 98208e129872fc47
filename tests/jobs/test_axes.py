"""The axes of a grid: what values a text is, and what becomes of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.axes import Axis, AxisError, apply_value, cells, check_cells, read_axis


@pytest.mark.parametrize(
    ("parameter", "text", "values"),
    [
        ("num_inference_steps", "20-40 (+5)", "20 25 30 35 40"),
        ("num_inference_steps", "1-4", "1 2 3 4"),
        ("num_inference_steps", "4-1", "4 3 2 1"),
        ("num_inference_steps", "40 - 20 (-10), 5", "40 30 20 5"),
        ("guidance_scale", "0.1-0.5 (+0.1)", "0.1 0.2 0.3 0.4 0.5"),
        ("guidance_scale", "1–2 (0.5)", "1.0 1.5 2.0"),
        ("seed", "7, 7, 8,", "7 8"),
        ("lora", "-1-1 (+1)", "-1 0 1"),
        ("sampler", "euler, Euler a", "euler|Euler a"),
        ("replace", '"red, dark", blue, 1-2', "red, dark|blue|1-2"),
        ("seed", [1, 2], "1 2"),
    ],
)
def test_values_are_read(parameter: str, text: object, values: str) -> None:
    wanted = tuple(values.split("|") if "|" in values else values.split())
    assert read_axis("x", parameter, text).values == wanted


@pytest.mark.parametrize(
    ("parameter", "values", "code"),
    [
        ("prompts", "a", "unknown_parameter"),
        ("seed:x", "1", "unknown_parameter"),
        (None, "a", "unknown_parameter"),
        ("seed", "", "missing"),
        ("seed", " , ", "missing"),
        ("seed", 5, "not_a_list"),
        ("seed", "1-9 (-1)", "not_a_range"),
        ("seed", "1-9 (0)", "not_a_range"),
        ("seed", "1-99999999999", "too_many"),
        ("replace", ["x" * 501], "too_long"),
    ],
)
def test_what_is_no_axis_is_told(parameter: object, values: object, code: str) -> None:
    with pytest.raises(AxisError) as refused:
        read_axis("y", parameter, values)
    assert (refused.value.problem.field, refused.value.problem.code) == ("y", code)


def axis(parameter: str, *values: str) -> Axis:
    return Axis(parameter=parameter, values=values)


def test_cells_go_along_x_first() -> None:
    axes = [axis("seed", "1", "2"), axis("clip_skip", "0", "1"), axis("strength", "a", "b")]
    assert check_cells(axes) == 8
    assert cells(axes)[:4] == [("1", "0", "a"), ("2", "0", "a"), ("1", "1", "a"), ("2", "1", "a")]
    assert cells(axes)[4] == ("1", "0", "b")


@pytest.mark.parametrize(
    ("axes", "code"),
    [
        ([], "missing"),
        ([axis("seed", "1"), axis("seed", "2")], "twice"),
        ([axis("seed", *map(str, range(11))), axis("clip_skip", *map(str, range(10)))], "too_many"),
    ],
)
def test_what_is_no_grid_is_told(axes: list[Axis], code: str) -> None:
    with pytest.raises(AxisError) as refused:
        check_cells(axes)
    assert refused.value.problem.code == code


def test_values_go_where_they_belong() -> None:
    raw: dict[str, Any] = {
        "prompt": "a red car",
        "negative_prompt": "red sky",
        "loras": [{"digest": "a", "weight": 1.0}, {"digest": "b", "weight": 1.0}],
    }
    kept = [dict(use) for use in raw["loras"]]
    apply_value(raw, axis("replace", "red", "blue"), "blue")
    apply_value(raw, axis("size", "1"), "64x128")
    apply_value(raw, axis("lora:b"), "0.5")
    assert (raw["prompt"], raw["negative_prompt"]) == ("a blue car", "blue sky")
    assert (raw["width"], raw["height"]) == ("64", "128")
    assert [use["weight"] for use in raw["loras"]] == [1.0, "0.5"]
    assert kept[1]["weight"] == 1.0
    for wrong, value, code in (
        (axis("replace", "green"), "x", "not_in_prompt"),
        (axis("size"), "big", "not_a_size"),
        (axis("lora:c"), "1", "no_lora"),
    ):
        with pytest.raises(AxisError) as refused:
            apply_value(raw, wrong, value)
        assert refused.value.problem.code == code
