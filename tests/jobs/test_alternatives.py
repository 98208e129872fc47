"""Alternatives in prompts: what they become, counted and drawn."""

from __future__ import annotations

import time
from collections import Counter
from random import Random

import pytest

from jobs.alternatives import AlternativesError, Text, draw, escaped, every, read_text

LISTS = {
    "colors": ("red", "green", "blue"),
    "animals": ("a fox", "a {young|old} __colors__ hare"),
    "endless": ("a", "__ENDLESS__"),
    "one": ("__two__",),
    "two": ("b __one__",),
}


def draws(text: Text, count: int) -> list[str]:
    """By the seeds from 0 on."""
    return [draw(text, Random(seed)) for seed in range(count)]  # noqa: S311  # seeds of pictures


def all_of(text: str) -> list[str]:
    return list(every(read_text(text, LISTS)))


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("a car", ["a car"]),
        ("", [""]),
        ("a {red|blue} car", ["a red car", "a blue car"]),
        ("{a|b}{c|d}", ["ac", "ad", "bc", "bd"]),
        ("{a|{b|c} d}", ["a", "b d", "c d"]),
        ("{|very} big", [" big", "very big"]),
        ("{ red | blue }", ["red", "blue"]),
        ("{3::red|blue}", ["red", "blue"]),
        ("a {car}", ["a {car}"]),
        ("{a {b|c}}", ["{a b}", "{a c}"]),
        (r"\{a\|b\} {c\}|d}", ["{a|b} c}", "{a|b} d"]),
        ("open { brace | bar } } {", ["open brace } {", "open bar } {"]),
        ("a __COLORS__ car", ["a red car", "a green car", "a blue car"]),
        (r"a \__colors__ car", ["a __colors__ car"]),
        ("snake_case__ and __ 1__2", ["snake_case__ and __ 1__2"]),
        (
            "__animals__",
            ["a fox", *(f"a {a} {c} hare" for a in ("young", "old") for c in LISTS["colors"])],
        ),
        ("(red:1.5) [x|y] (a, b)", ["(red:1.5) [x|y] (a, b)"]),
    ],
)
def test_what_a_prompt_becomes(text: str, becomes: list[str]) -> None:
    assert all_of(text) == becomes
    assert read_text(text, LISTS).count == len(becomes)


def test_a_draw_is_one_of_them_and_the_same_by_the_same_seed() -> None:
    text = read_text("__animals__ in {snow|rain}", LISTS)
    drawn = draws(text, 200)
    assert set(drawn) == set(all_of("__animals__ in {snow|rain}"))
    assert drawn == draws(text, 200)


def test_weights_decide_how_often() -> None:
    text = read_text("{3::red|blue|0::green}", LISTS)
    drawn = Counter(draws(text, 400))
    assert set(drawn) == {"red", "blue"}
    assert 2 < drawn["red"] / drawn["blue"] < 4.5


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("__beasts__", "unknown_wildcard"),
        ("__endless__", "endless_wildcard"),
        ("__one__", "endless_wildcard"),
        ("{0::a|0::b}", "weighs_nothing"),
        ("{a|" * 20 + "b" + "}" * 20, "too_deep"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, code: str) -> None:
    with pytest.raises(AlternativesError) as refused:
        read_text(text, LISTS)
    assert refused.value.code == code
    assert refused.value.message


def test_lists_in_lists_cannot_blow_up() -> None:
    lists = {f"l{n}": (f" __l{n + 1}__" * 60,) for n in range(9)} | {"l9": ("x",)}
    began = time.monotonic()
    with pytest.raises(AlternativesError) as refused:
        read_text("__l0__", lists)
    assert refused.value.code == "too_deep"
    read_text("{" * 4_000, {})
    read_text("{a|" * 1_300, {})
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("prompt", ["{a|b}", r"\{", "__colors__", "a | b }{ _ __", "a car"])
def test_what_is_escaped_stays_as_it_is(prompt: str) -> None:
    if "\\" not in prompt:
        assert all_of(escaped(prompt)) == [prompt]
