"""Weights in prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.pipelines.weighting import DEPTH_MAX, STEP, WEIGHT_MAX, Piece, parse_weights


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("", [("", 1)]),
        ("a red mug", [("a red mug", 1)]),
        ("a (red:1.5) mug", [("a ", 1), ("red", 1.5), (" mug", 1)]),
        ("(red)", [("red", STEP)]),
        ("((red))", [("red", STEP * STEP)]),
        ("[red] mug", [("red", 1 / STEP), (" mug", 1)]),
        ("(a (red:2) mug:0.5)", [("a ", 0.5), ("red", 1), (" mug", 0.5)]),
        ("(gone:0)", [("gone", 0)]),
        (r"a \(red\) mug \\", [("a (red) mug \\", 1)]),
        ("no partner (red", [("no partner (red", 1)]),
        ("no partner red)", [("no partner red)", 1)]),
        ("(red] mug", [("(red] mug", 1)]),
        ("(at 10:30 pm)", [("at 10:30 pm", STEP)]),
        ("(red:9)", [("red:9", STEP)]),
        ("(red:-1)", [("red:-1", STEP)]),
        ("(red:nan)", [("red:nan", STEP)]),
        ("(((x:4):4):4)", [("x", WEIGHT_MAX)]),
        ("()", [("", 1)]),
    ],
)
def test_pieces(prompt: str, pieces: list[tuple[str, float]]) -> None:
    found = parse_weights(prompt)
    assert [piece.text for piece in found] == [text for text, _weight in pieces]
    assert [piece.weight for piece in found] == pytest.approx([weight for _text, weight in pieces])


@given(st.text(alphabet=st.characters(exclude_characters="()[]\\", exclude_categories=["Cs"])))
def test_a_prompt_without_brackets_is_one_piece_as_it_is(prompt: str) -> None:
    assert parse_weights(prompt) == [Piece(prompt)]


@given(st.text(alphabet="()[]\\:.019a "))
def test_whatever_is_written_is_read_and_every_weight_is_in_bounds(prompt: str) -> None:
    pieces = parse_weights(prompt)
    assert pieces
    assert all(0 <= piece.weight <= WEIGHT_MAX for piece in pieces)
    letters = "".join(piece.text for piece in pieces).count("a")
    assert letters == prompt.count("a")


def test_brackets_without_end_are_read_in_time_and_without_recursion() -> None:
    prompt = "(" * 4_000
    assert "".join(piece.text for piece in parse_weights(prompt)) == "(" * 4_000
    deep = "(" * DEPTH_MAX + "x" + ")" * DEPTH_MAX
    assert parse_weights(deep) == [Piece("x", WEIGHT_MAX)]
