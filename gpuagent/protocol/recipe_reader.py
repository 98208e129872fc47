"""Reading typed values out of untyped input, with every problem told at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
