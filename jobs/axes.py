"""The axes of a grid: what varies, and the values it takes. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product

from gpuagent.protocol.recipe_reader import FieldProblem

AXES_MAX = 3
CELLS_MAX = 100
VALUE_MAX = 500
NAMES = ("x", "y", "z")
# Parameters of a recipe that are numbers: ranges can be written for them.
NUMBERS: Mapping[str, str] = {
    "seed": "Seed",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance",
    "guidance_end": "Guidance until",
    "strength": "Strength",
    "width": "Width",
    "height": "Height",
    "clip_skip": "Clip skip",
    "variation_strength": "Variation",
    "variation_seed": "Variation seed",
    "hires_scale": "Larger",
    "hires_strength": "Drawn anew",
    "hires_steps": "Steps of refining",
    "lora": "LoRA weight",
}
WORDS: Mapping[str, str] = {
    "sampler": "Sampler",
    "sigmas": "Sigmas",
    "size": "Size",
    "prompt": "Prompt",
    "replace": "Words of the prompt",
    "model": "Model",
}
PARAMETERS: Mapping[str, str] = {**NUMBERS, **WORDS}
_RANGE = re.compile(
    r"(-?\d+(?:\.\d+)?)\s*[-–]\s*(-?\d+(?:\.\d+)?)\s*(?:\(\s*([+-]?\d+(?:\.\d+)?)\s*\))?"
)
_SIZE = re.compile(r"\s*(\d{2,5})\s*[x×*]\s*(\d{2,5})\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A parameter (`lora` may name one: `lora:DIGEST`) and its values, as they were written."""

    parameter: str
    values: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.parameter.partition(":")[0]

    @property
    def label(self) -> str:
        return PARAMETERS[self.kind]


class AxisError(ValueError):
    """An axis that cannot be: what was wrong, told of a field."""

    def __init__(self, problem: FieldProblem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def _refuse(field: str, code: str, message: str, limit: object = None) -> AxisError:
    return AxisError(FieldProblem(field=field, code=code, message=message, limit=limit))


def read_axis(name: str, parameter: object, values: object) -> Axis:
    """An axis; `values` are a list, or a text: `20-40 (+5), 60` for numbers, `a, "b, c"` for words.

    Raises:
        AxisError: there is no such parameter, or no values, or too many.
    """
    kind = str(parameter).partition(":")[0] if isinstance(parameter, str) else ""
    if kind not in PARAMETERS or (kind != "lora" and kind != parameter):
        named = ", ".join(PARAMETERS)
        raise _refuse(name, "unknown_parameter", f"What varies is one of: {named}.")
    found = _values(name, values, is_number=kind in NUMBERS)
    if not found:
        message = f"Write what {PARAMETERS[kind]} is to be, such as 20-40 (+5) or a, b, c."
        raise _refuse(name, "missing", message)
    if len(found) > CELLS_MAX:
        raise _too_many(name, len(found))
    if max(map(len, found)) > VALUE_MAX:
        raise _refuse(name, "too_long", f"A value has at most {VALUE_MAX} characters.", VALUE_MAX)
    return Axis(parameter=str(parameter), values=tuple(dict.fromkeys(found)))


def check_cells(axes: Sequence[Axis]) -> int:
    """How many pictures they make.

    Raises:
        AxisError: none, too many, or one parameter twice.
    """
    if not 1 <= len(axes) <= AXES_MAX:
        raise _refuse("x", "missing", "A grid has one to three axes. Choose what is to vary.")
    names = [axis.parameter for axis in axes]
    if len(set(names)) < len(names):
        raise _refuse("y", "twice", "Two axes vary the same. Choose another parameter for one.")
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > CELLS_MAX:
        raise _too_many(NAMES[len(axes) - 1], count)
    return count


def _too_many(name: str, count: int) -> AxisError:
    message = f"That makes {count:,} pictures; a grid has at most {CELLS_MAX}. Take values out."
    return _refuse(name, "too_many", message, CELLS_MAX)


def cells(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """The values of each cell: along x first, then y, then z."""
    turned = product(*(axis.values for axis in reversed(axes)))
    return [tuple(reversed(chosen)) for chosen in turned]


def apply_value(raw: dict[str, object], axis: Axis, value: str) -> None:
    """Put the value of an axis into a request.

    Raises:
        AxisError: it cannot be put there.
    """
    if axis.kind == "size":
        match = _SIZE.fullmatch(value)
        if match is None:
            raise _refuse(
                "size", "not_a_size", f"A size is written like 768x512, not {value[:20]}."
            )
        raw["width"], raw["height"] = match[1], match[2]
    elif axis.kind == "replace":
        _replace(raw, axis.values[0], value)
    elif axis.kind == "lora":
        _weigh(raw, axis.parameter.partition(":")[2], value)
    else:
        raw[axis.parameter] = value


def _replace(raw: dict[str, object], sought: str, value: str) -> None:
    prompts = {name: str(raw.get(name) or "") for name in ("prompt", "negative_prompt")}
    if not any(sought in prompt for prompt in prompts.values()):
        message = (
            f"The first value, “{sought[:40]}”, is what is replaced. The prompt has no such words."
        )
        raise _refuse("replace", "not_in_prompt", message)
    for name, prompt in prompts.items():
        raw[name] = prompt.replace(sought, value)


def _weigh(raw: dict[str, object], digest: str, value: str) -> None:
    given = raw.get("loras")
    uses = (
        [dict(use) for use in given if isinstance(use, Mapping)] if isinstance(given, list) else []
    )
    chosen = next((use for use in uses if digest in ("", use.get("digest"))), None)
    if chosen is None:
        message = "There is no such LoRA in the recipe. Add it there first."
        raise _refuse("lora", "no_lora", message)
    chosen["weight"] = value
    raw["loras"] = uses


def _values(name: str, given: object, *, is_number: bool) -> list[str]:
    if isinstance(given, list | tuple):
        written = [str(value).strip() for value in given]
    elif isinstance(given, str):
        line = " ".join(given.split())
        written = [part.strip() for part in next(csv.reader([line], skipinitialspace=True), [])]
    else:
        raise _refuse(name, "not_a_list", "Values are a list, or a text such as 20-40 (+5).")
    found: list[str] = []
    for part in written:
        match = _RANGE.fullmatch(part) if is_number else None
        found += _range(name, match) if match else [part] if part else []
    return found


def _range(name: str, match: re.Match[str]) -> list[str]:
    """From the first to the last, both among them if the steps lead there."""
    try:
        first, last = Decimal(match[1]), Decimal(match[2])
        step = Decimal(match[3]) if match[3] else Decimal(1 if last >= first else -1)
    except InvalidOperation:
        raise _refuse(name, "not_a_range", "A range is written like 20-40 (+5).") from None
    if not step or (last - first) * step < 0:
        message = f"From {first} by steps of {step} nothing leads to {last}. Turn the sign around."
        raise _refuse(name, "not_a_range", message)
    count = int((last - first) / step) + 1
    if count > CELLS_MAX:
        raise _too_many(name, count)
    return [f"{first + step * number:f}" for number in range(count)]
