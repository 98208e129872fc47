r"""Prompts that stand for several: `{red|blue}`, and `__colors__` out of a workspace's lists. Pure.

`{2::red|blue}` draws red twice as often; braces nest, and entries of lists may hold both again.
Braces without a `|` are braces. `\{`, `\}` and `\|` are what they are, and so is `\__`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from random import Random

from gpuagent.protocol.recipe_reader import FieldProblem

DEPTH_MAX = 16
# Parts that one drawing goes through; lists that name lists could go on for ever.
PARTS_MAX = 5_000
NAME = re.compile(r"[^\W_]+(?:[ _-][^\W_]+)*")
_CALL = re.compile(rf"__({NAME.pattern})__")
_WEIGHT = re.compile(r"\s*(\d{1,4}(?:\.\d{1,4})?)::")
_ESCAPED = re.compile(r"\\(?:[{}|]|__)")
_TO_ESCAPE = re.compile(r"[{}|]|__")

Lists = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Parts one after the other. `count`: what it can become; `size`: parts a drawing takes."""

    parts: tuple[str | Choice, ...]
    count: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the options, by their weights."""

    options: tuple[Text, ...]
    weights: tuple[float, ...]
    count: int
    size: int


class AlternativesError(ValueError):
    """The prompt cannot be read: a code and a sentence."""

    def __init__(self, code: str, message: str, value: object = None, limit: object = None) -> None:
        super().__init__(code)
        self.code, self.message, self.value, self.limit = code, message, value, limit

    def problem(self, field: str) -> FieldProblem:
        """The same, told of a field."""
        return FieldProblem(
            field=field, code=self.code, message=self.message, value=self.value, limit=self.limit
        )


def read_text(text: str, lists: Lists) -> Text:
    """The prompt with its alternatives, `lists` by their names in small letters.

    Raises:
        AlternativesError: it names a list that is not there, or goes on and on.
    """
    read = _Reader(lists).text(text, depth=0)
    if read.size > PARTS_MAX:
        raise _too_deep()
    return read


def names_in(text: str) -> list[str]:
    """What might be lists, as they are written."""
    return [match[1] for match in _CALL.finditer(text)]


def has_alternatives(text: Text) -> bool:
    """Whether there is anything to choose."""
    return any(isinstance(part, Choice) for part in text.parts)


def every(text: Text) -> Iterator[str]:
    """All that it can become, in order; some may be the same."""
    choices = [
        [part] if isinstance(part, str) else [s for o in part.options for s in every(o)]
        for part in text.parts
    ]
    for chosen in product(*choices):
        yield "".join(chosen)


def draw(text: Text, random: Random) -> str:
    """One of them."""
    return "".join(_drawn(text, random))


def escaped(prompt: str) -> str:
    """A prompt that becomes this one and no other."""
    return _TO_ESCAPE.sub(lambda match: "\\" + match[0], prompt)


def _drawn(text: Text, random: Random) -> Iterator[str]:
    for part in text.parts:
        if isinstance(part, str):
            yield part
        else:
            yield from _drawn(_pick(part, random), random)


def _pick(choice: Choice, random: Random) -> Text:
    """`random.random()` alone is promised to stay the same from one Python to the next."""
    at = random.random() * sum(choice.weights)
    for option, weight in zip(choice.options, choice.weights, strict=True):
        at -= weight
        if at < 0:
            return option
    return choice.options[-1]


def _too_deep() -> AlternativesError:
    message = "The alternatives go too deep. Use fewer braces in braces, or lists in lists."
    return AlternativesError("too_deep", message, None, DEPTH_MAX)


class _Reader:
    """Reads one prompt; each list is read once."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._read: dict[str, Choice] = {}
        self._open: list[str] = []

    def text(self, text: str, *, depth: int) -> Text:
        if depth > DEPTH_MAX:
            raise _too_deep()
        parts: list[str | Choice] = []
        plain, at, braces = "", 0, _braces(text)
        while at < len(text):
            part, end = self._part(text, at, depth, braces)
            if isinstance(part, str):
                plain += part
            else:
                parts += [plain, part] if plain else [part]
                plain = ""
            at = end
        return _joined([*parts, plain] if plain or not parts else parts)

    def _part(
        self, text: str, at: int, depth: int, braces: dict[int, tuple[list[str], int]]
    ) -> tuple[str | Choice, int]:
        """What begins here, and where it ends."""
        if match := _ESCAPED.match(text, at):
            return match[0][1:], match.end()
        options, end = braces.get(at, ([], 0))
        if len(options) > 1:
            return self._choice(options, depth), end
        if match := _CALL.match(text, at):
            return self._list(match[1], depth), match.end()
        return text[at], at + 1

    def _choice(self, options: Sequence[str], depth: int) -> Choice:
        weights, texts = [], []
        for option in options:
            match = _WEIGHT.match(option)
            weights.append(float(match[1]) if match else 1.0)
            texts.append(self.text(option[match.end() :] if match else option, depth=depth + 1))
        if not sum(weights):
            message = "All weights of a choice are 0, so nothing can be drawn. Give one of them 1."
            raise AlternativesError("weighs_nothing", message)
        count, size = sum(t.count for t in texts), 1 + max(t.size for t in texts)
        return Choice(options=tuple(texts), weights=tuple(weights), count=count, size=size)

    def _list(self, name: str, depth: int) -> Choice:
        key = name.lower()
        if key not in self._lists:
            known = ", ".join(sorted(self._lists)[:12])
            there = f"There are: {known}." if known else "There are no lists yet."
            message = f"There is no wildcard list “{name}” here. {there} Or write \\__{name}__."
            raise AlternativesError("unknown_wildcard", message, name)
        if key in self._open:
            message = f"The wildcard list “{name}” leads back to itself. Change one of its entries."
            raise AlternativesError("endless_wildcard", message, name)
        if key not in self._read:
            self._open.append(key)
            self._read[key] = self._choice(self._lists[key], depth)
            self._open.pop()
        return self._read[key]


def _joined(parts: Sequence[str | Choice]) -> Text:
    count, size = 1, 1
    for part in parts:
        if isinstance(part, Choice):
            count, size = count * part.count, size + part.size
    return Text(parts=tuple(parts), count=count, size=size)


def _braces(text: str) -> dict[int, tuple[list[str], int]]:
    """Of each brace that opens and closes: what its bars part, and the place behind it."""
    found: dict[int, tuple[list[str], int]] = {}
    still_open: list[list[int]] = []
    at = 0
    while at < len(text):
        if match := _ESCAPED.match(text, at):
            at = match.end()
            continue
        if text[at] == "{":
            still_open.append([at])
        elif text[at] == "|" and still_open:
            still_open[-1].append(at)
        elif text[at] == "}" and still_open:
            marks = [*still_open.pop(), at]
            options = [text[a + 1 : b].strip() for a, b in pairwise(marks)]
            found[marks[0]] = (options, at + 1)
        at += 1
    return found
