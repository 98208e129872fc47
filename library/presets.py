"""Presets: named settings that suit a model, chosen by whoever registers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from gpuagent.protocol.recipe import FieldProblem, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import SAMPLERS
from studio.core.errors import InvalidInputError

PRESETS_MAX = 8
NAME_MAX_CHARACTERS = 40
PRESET_FIELDS = (
    "num_inference_steps",
    "guidance_scale",
    "sampler",
    "width",
    "height",
    "clip_skip",
)
# What a recipe needs besides, so that the recipe's own checks can be asked.
_REST: Mapping[str, object] = {"model": "0" * 64, "prompt": "-"}


class Preset(TypedDict):
    """As it is kept and shown: `recipe` holds some of `PRESET_FIELDS`, checked."""

    name: str
    recipe: dict[str, object]


def _refuse(code: str, message: str) -> InvalidInputError:
    return InvalidInputError([FieldProblem(field="presets", code=code, message=message)])


def check_presets(raw: Sequence[object]) -> list[Preset]:
    """The presets with their values as a recipe would hold them.

    Raises:
        InvalidInputError: one cannot be used; the sentence names it and says why.
    """
    if len(raw) > PRESETS_MAX:
        message = f"There are {len(raw)} presets; a model can have at most {PRESETS_MAX}."
        raise _refuse("too_many", message)
    presets = [_check_preset(entry, number) for number, entry in enumerate(raw, 1)]
    taken: set[str] = set()
    for preset in presets:
        if preset["name"].casefold() in taken:
            message = f"Two presets have the name {preset['name']!r}; give each its own."
            raise _refuse("duplicate_name", message)
        taken.add(preset["name"].casefold())
    return presets


def usable_presets(stored: Sequence[object]) -> list[Preset]:
    """Those of a model's presets that could be registered today.

    Limits and samplers change with the product; what was stored before does not.
    """
    usable = []
    for number, entry in enumerate(stored, 1):
        try:
            usable.append(_check_preset(entry, number))
        except InvalidInputError:
            continue
    return usable


def _check_preset(entry: object, number: int) -> Preset:
    if not isinstance(entry, Mapping) or set(entry) != {"name", "recipe"}:
        message = f"Preset {number} must be an object with a name and a recipe, and nothing else."
        raise _refuse("bad_shape", message)
    name, recipe = entry["name"], entry["recipe"]
    if not isinstance(name, str) or not name.strip():
        raise _refuse("bad_name", f"Preset {number} has no name.")
    name = name.strip()
    _check_name(name, number)
    if not isinstance(recipe, Mapping) or not recipe:
        raise _refuse("bad_shape", f"The preset {name!r} sets nothing.")
    return Preset(name=name, recipe=_check_recipe(name, recipe))


def _check_name(name: str, number: int) -> None:
    if len(name) > NAME_MAX_CHARACTERS:
        message = f"The name of preset {number} has {len(name)} characters; at most "
        raise _refuse("bad_name", f"{message}{NAME_MAX_CHARACTERS} fit. Shorten it.")
    unseen = next((character for character in name if not character.isprintable()), None)
    if unseen is not None:
        message = f"The name of preset {number} contains U+{ord(unseen):04X}, a line break or a "
        raise _refuse("bad_name", message + "character that cannot be shown; remove it.")


def _check_recipe(name: str, recipe: Mapping[object, object]) -> dict[str, object]:
    given: dict[str, object] = {}
    for key, value in recipe.items():
        field = str(key)
        if field not in PRESET_FIELDS:
            allowed = ", ".join(PRESET_FIELDS)
            message = f"The preset {name!r} sets {field[:40]!r}; a preset may only set {allowed}."
            raise _refuse("unknown_field", message)
        # The recipe's own checks read these as "the default", which is no choice.
        is_text = isinstance(value, str)
        if value is None or value == "" or (field == "sampler" and not is_text):
            message = f"The preset {name!r} has no usable value for {field!r}."
            raise _refuse("no_value", message)
        given[field] = value
    try:
        checked = parse_recipe({**_REST, **given}).to_wire()
    except RecipeInvalidError as error:
        why = " ".join(problem.message for problem in error.problems)
        message = f"The preset {name!r} cannot be used. {why}"
        raise _refuse(error.problems[0].code, message) from error
    return {field: checked[field] for field in PRESET_FIELDS if field in given}


def describe_recipe(recipe: Mapping[str, object]) -> str:
    """What a preset sets, in the words of the room: `20 steps, DPM++ 2M Karras, guidance 4`."""
    words = []
    if "num_inference_steps" in recipe:
        steps = recipe["num_inference_steps"]
        words.append("1 step" if steps == 1 else f"{steps} steps")
    if "sampler" in recipe:
        sampler = SAMPLERS.get(str(recipe["sampler"]))
        words.append(sampler.label if sampler else str(recipe["sampler"]))
    if "guidance_scale" in recipe:
        words.append(f"guidance {recipe['guidance_scale']:g}")
    if "width" in recipe and "height" in recipe:
        words.append(f"{recipe['width']} × {recipe['height']}")
    else:
        words += [f"{side} {recipe[side]}" for side in ("width", "height") if side in recipe]
    if "clip_skip" in recipe:
        words.append(f"clip skip {recipe['clip_skip']}")
    return ", ".join(words)
