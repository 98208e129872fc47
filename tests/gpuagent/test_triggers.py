"""Trigger words: found in prompts as words of their own, and read from what files say."""

from __future__ import annotations

import json

import pytest

from gpuagent.protocol.triggers import has_trigger, is_trigger, split_at, triggers_said


@pytest.mark.parametrize(
    ("text", "triggers", "pieces"),
    [
        ("a mug", ["<teal>"], [("a mug", None)]),
        ("", ["<teal>"], [("", None)]),
        ("a <teal> mug", ["<teal>"], [("a ", None), ("<teal>", "<teal>"), (" mug", None)]),
        ("a <TEAL> mug", ["<teal>"], [("a ", None), ("<TEAL>", "<teal>"), (" mug", None)]),
        ("<a><a>", ["<a>"], [("<a>", "<a>"), ("<a>", "<a>")]),
        ("redder red", ["red"], [("redder ", None), ("red", "red")]),
        ("oldred2 2red", ["red"], [("oldred2 2red", None)]),
        ("big-red", ["red", "big-red"], [("big-red", "big-red")]),
        ("ſtyle", ["style"], [("ſtyle", None)]),
        ("a.b axb", ["a.b"], [("a.b", "a.b"), (" axb", None)]),
    ],
)
def test_a_prompt_is_cut_at_its_trigger_words(
    text: str, triggers: list[str], pieces: list[tuple[str, str | None]]
) -> None:
    assert split_at(text, triggers) == pieces
    assert "".join(piece for piece, _trigger in split_at(text, triggers)) == text


def test_a_prompt_calls_what_it_names() -> None:
    assert has_trigger("a <teal> mug", "<teal>")
    assert not has_trigger("a teal mug", "<teal>")


@pytest.mark.parametrize("word", ["<teal>", "easynegative", "my-style_2", "é"])
def test_words_that_can_call(word: str) -> None:
    assert is_trigger(word)


@pytest.mark.parametrize("word", ["", "two words", "(a)", "a:1", "[a]", "a,b", "a\\", "x" * 65])
def test_words_that_cannot(word: str) -> None:
    assert not is_trigger(word)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, []),
        (
            {"modelspec.trigger_phrase": "neon sign,  glowing  tube ,"},
            ["neon sign", "glowing tube"],
        ),
        ({"trigger_words": '["a", "b", "a"]'}, ["a", "b"]),
        ({"ss_tag_frequency": json.dumps({"x": {"b": 2, "a": 9}, "y": {"b": 8}})}, ["b", "a"]),
        ({"ss_tag_frequency": "not JSON"}, []),
        ({"ss_tag_frequency": '{"x": 3}'}, []),
        ({"ss_tag_frequency": "[" * 100_000}, []),
    ],
)
def test_words_are_read_from_what_a_file_says(said: dict[str, str], words: list[str]) -> None:
    assert triggers_said(said) == words


def test_of_many_words_the_first_are_kept_and_none_too_long() -> None:
    said = triggers_said({"trigger_words": ",".join(["x" * 65, *(f"w{n}" for n in range(40))])})
    assert said == [f"w{n}" for n in range(12)]
