"""The recipe: everything that decides how a picture looks, checked once by one piece of code.

The web side parses what a person or a program asks for; the agent parses what the web side sends.
Both call `parse_recipe`, so neither can accept what the other refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS

RECIPE_VERSION = 1
PROMPT_MAX_CHARACTERS = 4_000
STEPS_MIN, STEPS_MAX = 1, 150
GUIDANCE_MIN, GUIDANCE_MAX = 0.0, 30.0
SIDE_MIN, SIDE_MAX, SIDE_MULTIPLE = 64, 2_048, 8
SEED_MAX = 2**32 - 1
PICTURES_MAX = 16
CLIP_SKIP_MAX = 12
STRENGTH_MIN, STRENGTH_MAX = 0.05, 1.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A checked request for `num_images_per_prompt` pictures.

    Sizes are in pixels; picture `i` uses seed `(seed + i) mod 2**32` and is made alone (batch 1),
    so that each can be made again by itself. `model` is the digest of a model version,
    `image` the SHA-256 of the starting picture's bytes (img2img) or None (txt2img).
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    num_inference_steps: int = 20
    guidance_scale: float = 5.0
    width: int = 128
    height: int = 128
    seed: int = 0
    sampler: str = DEFAULT_SAMPLER
    num_images_per_prompt: int = 1
    clip_skip: int = 0
    image: str | None = None
    strength: float = 0.7

    def seed_of(self, index: int) -> int:
        """The seed of picture `index`."""
        return (self.seed + index) % (SEED_MAX + 1)

    def only(self, index: int) -> Recipe:
        """The recipe that makes just picture `index` again."""
        return replace(self, seed=self.seed_of(index), num_images_per_prompt=1)

    @property
    def denoising_steps(self) -> int:
        """Steps the sampler really takes: img2img starts part of the way."""
        if self.image is None:
            return self.num_inference_steps
        return max(1, min(int(self.num_inference_steps * self.strength), self.num_inference_steps))

    def to_wire(self) -> dict[str, object]:
        """Plain JSON values, with the version of this format."""
        return {"version": RECIPE_VERSION, **asdict(self)}

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes have equal digests."""
        canonical = json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class _Reader:
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
            self.problem(field, "not_a_number", f"{label} must be a number.", _short(given))
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


def _short(value: object) -> str:
    """A bad value for an error message, cut so that it cannot flood a page."""
    return str(value)[:40]


def _as_integer(value: object) -> float | None:
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


def _as_float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number == number and abs(number) != float("inf") else None


def _is_digest(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) == 64
        and all(character in "0123456789abcdef" for character in value)
    )


def parse_recipe(raw: Mapping[str, object]) -> Recipe:
    """Check everything that can be checked without knowing the library or the fleet.

    Unknown keys are refused, so that a misspelt setting is never silently ignored.

    Raises:
        RecipeInvalidError: with one `FieldProblem` per thing that is wrong.
    """
    reader = _Reader(raw)
    if raw.get("version", RECIPE_VERSION) != RECIPE_VERSION:
        reader.problem("version", "unknown_version", f"This side reads version {RECIPE_VERSION}.")
    for key in sorted(set(raw) - set(Recipe.__dataclass_fields__) - {"version"}, key=str):
        reader.problem(_short(key), "unknown_field", f"There is no setting called {_short(key)!r}.")
    recipe = Recipe(
        model=_model(reader),
        prompt=reader.text(
            "prompt", default=None, maximum=PROMPT_MAX_CHARACTERS, label="The prompt"
        ),
        negative_prompt=reader.text(
            "negative_prompt", default="", maximum=PROMPT_MAX_CHARACTERS, label="Negative prompt"
        ),
        num_inference_steps=_integer(
            reader, "num_inference_steps", 20, STEPS_MIN, STEPS_MAX, "Steps"
        ),
        guidance_scale=reader.number(
            "guidance_scale",
            default=5.0,
            minimum=GUIDANCE_MIN,
            maximum=GUIDANCE_MAX,
            label="Guidance",
            convert=_as_float,
        ),
        width=_side(reader, "width", "Width"),
        height=_side(reader, "height", "Height"),
        seed=_integer(reader, "seed", 0, 0, SEED_MAX, "The seed"),
        sampler=_sampler(reader),
        num_images_per_prompt=_integer(
            reader, "num_images_per_prompt", 1, 1, PICTURES_MAX, "The number of pictures"
        ),
        clip_skip=_integer(reader, "clip_skip", 0, 0, CLIP_SKIP_MAX, "Clip skip"),
        image=_image(reader),
        strength=reader.number(
            "strength",
            default=0.7,
            minimum=STRENGTH_MIN,
            maximum=STRENGTH_MAX,
            label="Strength",
            convert=_as_float,
        ),
    )
    if reader.problems:
        raise RecipeInvalidError(tuple(reader.problems))
    return recipe


def _integer(
    reader: _Reader, field: str, default: int, minimum: int, maximum: int, label: str
) -> int:
    return int(
        reader.number(
            field,
            default=default,
            minimum=minimum,
            maximum=maximum,
            label=label,
            convert=_as_integer,
        )
    )


def _side(reader: _Reader, field: str, label: str) -> int:
    side = _integer(reader, field, 128, SIDE_MIN, SIDE_MAX, label)
    if SIDE_MIN <= side <= SIDE_MAX and side % SIDE_MULTIPLE:
        below = side - side % SIDE_MULTIPLE
        reader.problem(
            field,
            "not_a_multiple",
            f"{label} is {side}; it must be a multiple of {SIDE_MULTIPLE}, "
            f"like {below} or {below + SIDE_MULTIPLE}.",
            side,
            SIDE_MULTIPLE,
        )
    return side


def _model(reader: _Reader) -> str:
    value = reader.raw.get("model")
    if not _is_digest(value):
        reader.problem("model", "unknown_model", "Choose a model.", _short(value))
        return ""
    return str(value)


def _image(reader: _Reader) -> str | None:
    value = reader.raw.get("image")
    if value in (None, ""):
        return None
    if not _is_digest(value):
        reader.problem(
            "image", "unknown_image", "That starting picture is not known; add it again."
        )
        return None
    return str(value)


def _sampler(reader: _Reader) -> str:
    value = reader.raw.get("sampler") or DEFAULT_SAMPLER
    if not isinstance(value, str) or value not in SAMPLERS:
        names = ", ".join(SAMPLERS)
        reader.problem(
            "sampler",
            "unknown_sampler",
            f"There is no sampler {_short(value)!r}. Choose one of: {names}.",
            _short(value),
            list(SAMPLERS),
        )
        return DEFAULT_SAMPLER
    return str(value)
