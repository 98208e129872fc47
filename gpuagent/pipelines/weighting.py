"""Weights in prompts, as artists write them: `(red:1.4)`, `(red)`, `((red))`, `[red]`. Pure.

`(text)` weighs 1.1 times as much, `[text]` 1/1.1, `(text:1.4)` what it says; nested ones multiply.
A backslash takes a bracket or itself literally: `\\(`. So is a bracket without its partner.
"""

from __future__ import annotations

from dataclasses import dataclass, field

STEP = 1.1
WEIGHT_MIN, WEIGHT_MAX = 0.0, 4.0
DEPTH_MAX = 32
_PARTNERS = {"(": ")", "[": "]"}
_ESCAPED = frozenset("()[]\\")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a prompt, and how much it counts; 1 is as written."""

    text: str
    weight: float = 1.0


@dataclass(slots=True)
class _Open:
    """A bracket that waits for its partner."""

    bracket: str
    pieces: list[Piece] = field(default_factory=list)


def parse_weights(prompt: str) -> list[Piece]:
    """The prompt cut where its weight changes; neighbours of equal weight are one piece.

    A prompt without brackets and backslashes is one piece, as it is.
    """
    stack = [_Open("")]
    at = 0
    while at < len(prompt):
        character = prompt[at]
        if character == "\\" and prompt[at + 1 : at + 2] in _ESCAPED and at + 1 < len(prompt):
            _write(stack[-1].pieces, prompt[at + 1])
            at += 1
        elif character in _PARTNERS and len(stack) <= DEPTH_MAX:
            stack.append(_Open(character))
        elif len(stack) > 1 and character == _PARTNERS[stack[-1].bracket]:
            _close(stack)
        else:
            _write(stack[-1].pieces, character)
        at += 1
    while len(stack) > 1:  # never closed: what looked like a bracket was none
        left = stack.pop()
        _write(stack[-1].pieces, left.bracket)
        _extend(stack[-1].pieces, left.pieces)
    return stack[0].pieces or [Piece("")]


def _close(stack: list[_Open]) -> None:
    closed = stack.pop()
    factor, pieces = 1 / STEP, closed.pieces
    if closed.bracket == "(":
        factor, pieces = _stated(pieces)
    scaled = [Piece(piece.text, _bounded(piece.weight * factor)) for piece in pieces]
    _extend(stack[-1].pieces, scaled)


def _stated(pieces: list[Piece]) -> tuple[float, list[Piece]]:
    """The weight after the last colon, and what is left without it; else one step more."""
    last = pieces[-1] if pieces else Piece("")
    text, colon, number = last.text.rpartition(":")
    if colon and last.weight == 1.0:
        try:
            weight = float(number)
        except ValueError:
            return STEP, pieces
        if WEIGHT_MIN <= weight <= WEIGHT_MAX:
            return weight, [*pieces[:-1], Piece(text)]
    return STEP, pieces


def _bounded(weight: float) -> float:
    return min(max(weight, WEIGHT_MIN), WEIGHT_MAX)


def _write(pieces: list[Piece], text: str) -> None:
    _extend(pieces, [Piece(text)])


def _extend(pieces: list[Piece], more: list[Piece]) -> None:
    for piece in more:
        if pieces and pieces[-1].weight == piece.weight:
            pieces[-1] = Piece(pieces[-1].text + piece.text, piece.weight)
        elif piece.text:
            pieces.append(piece)
