"""Reading typed values out of untyped input, with every problem told at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """One thing wrong with one field: a code and data for programs, a sentence for people."""

    field: str
    code: str
    message: str
    value: object = None
    limit: object = None


class RecipeInvalidError(ValueError):
    """The asked-for recipe cannot be made; `problems` names every field at once."""

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__("invalid recipe: " + ", ".join(f"{p.field} ({p.code})" for p in problems))
        self.problems = problems


class Reader:
    """Reads typed values out of untyped input and remembers every problem."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        self.raw = raw
        self.problems: list[FieldProblem] = []

    def problem(
        self, field: str, code: str, message: str, value: object = None, limit: object = None
    ) -> None:
        self.problems.append(
            FieldProblem(field=field, code=code, message=message, value=value, limit=limit)
        )

    def text(self, field: str, *, default: str | None, maximum: int, label: str) -> str:
        value = self.raw.get(field, default)
        if value is None or (field in self.raw and value == "" and default is None):
            self.problem(field, "required", f"{label} is empty. Write what you want to see.")
            return ""
        if not isinstance(value, str):
            self.problem(field, "not_text", f"{label} must be text.", type(value).__name__)
            return ""
        if default is None and not value.strip():
            self.problem(field, "required", f"{label} is empty. Write what you want to see.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.problem(field, "not_text", f"{label} contains half a character; remove it.")
        if "\x00" in value:
            self.problem(field, "null_character", f"{label} contains a NUL character; remove it.")
        if len(value) > maximum:
            self.problem(
                field,
                "too_long",
                f"{label} has {len(value):,} characters; at most {maximum:,} fit. Shorten it.",
                len(value),
                maximum,
            )
        return value

    def number(
        self,
        field: str,
        *,
        default: float,
        minimum: float,
        maximum: float,
        label: str,
        convert: Callable[[object], float | None],
    ) -> float:
        if field not in self.raw or self.raw[field] in (None, ""):
            return default
        given = self.raw[field]
        value = convert(given)
        if value is None:
            self.problem(field, "not_a_number", f"{label} must be a number.", short(given))
            return default
        if not minimum <= value <= maximum:
            self.problem(
                field,
                "out_of_range",
                f"{label} is {value:g}; choose from {minimum:g} to {maximum:g}.",
                value,
                [minimum, maximum],
            )
        return value

    def integer(
        self, field: str, default: int, minimum: int, maximum: int, label: str, *, multiple: int = 1
    ) -> int:
        """A whole number; of `multiple` if that is said."""
        value = int(
            self.number(
                field,
                default=default,
                minimum=minimum,
                maximum=maximum,
                label=label,
                convert=as_integer,
            )
        )
        if minimum <= value <= maximum and value % multiple:
            below = value - value % multiple
            self.problem(
                field,
                "not_a_multiple",
                f"{label} is {value}; it must be a multiple of {multiple}, "
                f"like {below} or {below + multiple}.",
                value,
                multiple,
            )
        return value

    def picture(self, field: str, label: str) -> str | None:
        """The SHA-256 of a picture that was added, or None."""
        value = self.raw.get(field)
        if value in (None, ""):
            return None
        if not is_digest(value):
            self.problem(field, "unknown_image", f"That {label} is not known; add it again.")
            return None
        return str(value)

    def items(self, field: str, maximum: int, label: str) -> list[object]:
        """A list, also as the JSON text that a form sends."""
        value = self.raw.get(field)
        if isinstance(value, str) and value:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = short(value)
        if value in (None, ""):
            return []
        if not isinstance(value, list | tuple):
            self.problem(field, "not_a_list", f"The {label} must be a list.", type(value).__name__)
            return []
        if len(value) > maximum:
            message = f"There are {len(value)} {label}; at most {maximum} can be used together."
            self.problem(field, "too_many", message, len(value), maximum)
            return []
        return list(value)

    def records(self, field: str, maximum: int, written: str) -> list[Item]:
        """A list of settings that belong together; `written` says how one is to be."""
        found = []
        for number, value in enumerate(self.items(field, maximum, field), 1):
            if isinstance(value, Mapping):
                found.append(Item(self, field, number, value))
            else:
                label = f"{field.removesuffix('s').capitalize()} {number}"
                message = f"{label}: write it as {written}."
                self.problem(field, f"not_a_{field.removesuffix('s')}", message, short(value))
        return found

    def one_of(
        self, field: str, choices: Sequence[str], default: str, code: str, label: str
    ) -> str:
        """One of a closed list of words."""
        value = self.raw.get(field) or default
        if isinstance(value, str) and value in choices:
            return str(value)
        named = ", ".join(choices)
        self.problem(
            field,
            code,
            f"There is no {label} {short(value)!r}. Choose one of: {named}.",
            short(value),
            list(choices),
        )
        return default


class Item:
    """One of a list of settings that belong together; every problem says which, in a sentence."""

    def __init__(
        self, reader: Reader, field: str, number: int, raw: Mapping[object, object]
    ) -> None:
        self.raw = raw
        self.is_wrong = False
        self._reader = reader
        self._field = field
        self._label = f"{field.removesuffix('s').capitalize()} {number}"

    def problem(self, code: str, message: str, value: object = None, limit: object = None) -> None:
        self.is_wrong = True
        shown = value if isinstance(value, int | float | list | None) else short(value)
        self._reader.problem(self._field, code, f"{self._label}: {message}", shown, limit)

    def check_names(self, known: Collection[str]) -> None:
        """Refuse settings that there are not."""
        for name in sorted(set(map(str, self.raw)) - set(known)):
            self.problem("unknown_field", f"there is no setting called {short(name)!r}.", name)

    def picture(self, name: str, noun: str) -> str | None:
        """The SHA-256 of a picture that was added, or None."""
        value = self.raw.get(name)
        if value in (None, ""):
            return None
        if not is_digest(value):
            self.problem("unknown_image", f"its {noun} is not known; add it again.", value)
        return str(value)

    def share(self) -> tuple[float, float]:
        """`start` and `end`, of the steps."""
        start, end = self.number("start", 0.0, 0.0, 1.0), self.number("end", 1.0, 0.0, 1.0)
        if start >= end:
            message = f"it would start at {start:g} and end at {end:g}; the end must come later."
            self.problem("ends_before_start", message, [start, end])
        return start, end

    def number(
        self, name: str, usual: float, least: float, most: float, *, is_whole: bool = False
    ) -> float:
        """A number within limits; the usual one if it is not said."""
        given = self.raw.get(name)
        if given in (None, ""):
            return usual
        value = as_integer(given) if is_whole else as_float(given)
        if value is None:
            whole = "a whole number" if is_whole else "a number"
            self.problem("not_a_number", f"its {name} must be {whole}.", given)
            return usual
        if not least <= value <= most:
            message = f"its {name} is {value:g}; choose from {least:g} to {most:g}."
            self.problem("out_of_range", message, value, [least, most])
            return usual
        return value


def short(value: object) -> str:
    """A bad value for an error message, cut so that it cannot flood a page."""
    return str(value)[:40]


def as_integer(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None  # larger ones do not even format as a float
    try:
        number = float(value)
    except ValueError:
        return None
    if number in (float("inf"), float("-inf")) or number != number or number != int(number):
        return None
    return int(number)


def as_float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number == number and abs(number) != float("inf") else None


def is_digest(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == 64
        and all(character in "0123456789abcdef" for character in value)
    )
