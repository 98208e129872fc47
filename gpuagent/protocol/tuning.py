"""The part of a recipe that tunes how it is drawn: noise schedule, guidance, variations, and the
refining of a picture at a larger size. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuagent.protocol.recipe_reader import Reader, as_float, is_digest, short
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS, Sampler

# How steps are spread over the noise: the word, and what diffusers calls it.
SIGMAS: Mapping[str, str] = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
}
# Of these classes diffusers has all three.
_TAKE_SIGMAS = frozenset(
    {
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LMSDiscreteScheduler",
        "UniPCMultistepScheduler",
    }
)
GUIDANCE_END_MIN = 0.05
VARIATION_SEED_MAX = 2**32 - 1
HIRES_SCALE_MIN, HIRES_SCALE_MAX = 1.25, 4.0
HIRES_STRENGTH_MIN = 0.05
HIRES_STEPS_MAX = 150
HIRES_TILE_MIN, HIRES_TILE_MAX, HIRES_TILE_MULTIPLE = 64, 2_048, 64
HIRES_SIDE_MAX, HIRES_PIXELS_MAX = 8_192, 64_000_000
HIRES_MULTIPLE = 8
LATENT, LANCZOS = "latent", "lanczos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """`sigmas`: how steps are spread over the noise, empty for the sampler's own way. After
    `guidance_end` of the steps there is no guidance any more, which halves their work.

    With a `variation_strength`, pictures have one seed, and their first noise is moved so far
    towards that of `variation_seed + i`.

    With a `hires_scale`, what was drawn (or the starting picture itself, at strength 0) is enlarged
    by `hires_upscaler` (`latent`, `lanczos`, or the digest of an upscaler) and drawn again at
    `hires_strength`, in tiles of `hires_tile` pixels, or in one piece if that is 0. `hires_steps`
    0 means as many as before.
    """

    sigmas: str = ""
    guidance_end: float = 1.0
    variation_seed: int = 0
    variation_strength: float = 0.0
    hires_scale: float = 0.0
    hires_strength: float = 0.3
    hires_steps: int = 0
    hires_upscaler: str = LANCZOS
    hires_tile: int = 0

    @property
    def is_hires(self) -> bool:
        """Whether the picture is made larger and drawn again."""
        return self.hires_scale > 0

    @property
    def enlargers(self) -> tuple[str, ...]:
        """Digest of the upscaler that is needed besides the model."""
        return (self.hires_upscaler,) if self.is_hires and is_digest(self.hires_upscaler) else ()

    def untuned(self) -> set[str]:
        """Settings that say nothing: recipes without them are written as ever."""
        names = {name for name in ("sigmas",) if not self.sigmas}
        if self.guidance_end >= 1:
            names.add("guidance_end")
        if not self.variation_strength:
            names |= {"variation_seed", "variation_strength"}
        if not self.is_hires:
            names |= {name for name in Tuning.__dataclass_fields__ if name.startswith("hires_")}
        return names


def takes_sigmas(sampler: Sampler) -> bool:
    """Whether its steps can be spread in other ways."""
    return sampler.class_name in _TAKE_SIGMAS


def hires_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Sides of the result, multiples of 8."""
    wide, tall = (int(side * scale) // HIRES_MULTIPLE * HIRES_MULTIPLE for side in (width, height))
    return wide, tall


def asks_for_hires(raw: Mapping[str, object]) -> bool:
    """Whether a request, right or wrong, is one for a picture that is drawn again larger."""
    given = raw.get("hires_scale")
    return given not in (None, "") and as_float(given) != 0


def read_tuning(reader: Reader) -> dict[str, Any]:
    """The settings above, for a recipe that draws."""
    return {
        "sigmas": _sigmas(reader),
        "guidance_end": _part(reader, "guidance_end", 1.0, GUIDANCE_END_MIN, "The end of guidance"),
        "variation_seed": reader.integer(
            "variation_seed", 0, 0, VARIATION_SEED_MAX, "The variation seed"
        ),
        "variation_strength": _part(reader, "variation_strength", 0.0, 0.0, "Variation"),
        **(_hires(reader) if asks_for_hires(reader.raw) else {}),
    }


def _part(reader: Reader, field: str, default: float, minimum: float, label: str) -> float:
    return reader.number(
        field, default=default, minimum=minimum, maximum=1.0, label=label, convert=as_float
    )


def _sigmas(reader: Reader) -> str:
    """Empty also if it is what the sampler does anyway: equal pictures have equal recipes."""
    given = reader.raw.get("sigmas")
    if given in (None, "", "default"):
        return ""
    chosen = reader.one_of("sigmas", list(SIGMAS), "", "unknown_sigmas", "spacing of steps")
    sampler = SAMPLERS.get(str(reader.raw.get("sampler") or DEFAULT_SAMPLER))
    if not chosen or sampler is None:
        return ""
    if not takes_sigmas(sampler):
        named = ", ".join(each.label for each in SAMPLERS.values() if takes_sigmas(each))
        message = (
            f"{sampler.label} spreads its steps in its own way alone. Leave the spacing to it, or "
            f"choose one of: {named}."
        )
        reader.problem("sigmas", "not_with_sampler", message, sampler.id)
        return ""
    return "" if sampler.options.get(SIGMAS[chosen]) else chosen


def _hires(reader: Reader) -> dict[str, Any]:
    raw = reader.raw
    parts = ("mask", *(f"outpaint_{side}" for side in ("left", "top", "right", "bottom")))
    if any(raw.get(field) not in (None, "", 0, "0") for field in parts):
        message = "A part of a picture is changed at its own size. Refine the result afterwards."
        reader.problem("hires_scale", "not_with_mask", message)
    return {
        "hires_scale": reader.number(
            "hires_scale",
            default=0.0,
            minimum=HIRES_SCALE_MIN,
            maximum=HIRES_SCALE_MAX,
            label="The scale",
            convert=as_float,
        ),
        "hires_strength": _part(
            reader, "hires_strength", 0.3, HIRES_STRENGTH_MIN, "The strength of refining"
        ),
        "hires_steps": reader.integer("hires_steps", 0, 0, HIRES_STEPS_MAX, "Steps of refining"),
        "hires_tile": reader.integer(
            "hires_tile", 0, 0, HIRES_TILE_MAX, "Tiles", multiple=HIRES_TILE_MULTIPLE
        ),
        "hires_upscaler": _upscaler(reader),
    }


def _upscaler(reader: Reader) -> str:
    given = reader.raw.get("hires_upscaler")
    if given in (None, ""):
        return LANCZOS
    if given in (LATENT, LANCZOS) or is_digest(given):
        return str(given)
    message = f"Enlarge by {LATENT}, {LANCZOS}, or the digest of an upscaler of the library."
    reader.problem("hires_upscaler", "unknown_upscaler", message, short(given))
    return LANCZOS


def told_as_text(recipe: Tuning, upscaler: str) -> dict[str, str]:
    """The same by the names that A1111-class tools read."""
    told: dict[str, str] = {}
    if recipe.sigmas:
        told["Schedule type"] = recipe.sigmas.capitalize()
    if recipe.variation_strength:
        told["Variation seed"] = str(recipe.variation_seed)
        told["Variation seed strength"] = f"{recipe.variation_strength:g}"
    if recipe.is_hires:
        told["Hires upscale"] = f"{recipe.hires_scale:g}"
        told["Hires upscaler"] = upscaler or recipe.hires_upscaler.capitalize()
        told["Hires strength"] = f"{recipe.hires_strength:g}"
        if recipe.hires_steps:
            told["Hires steps"] = str(recipe.hires_steps)
    return told


def check_hires_size(reader: Reader, width: int, height: int, scale: float) -> None:
    """How large a result may become."""
    wide, tall = hires_size(width, height, scale)
    if max(wide, tall) <= HIRES_SIDE_MAX and wide * tall <= HIRES_PIXELS_MAX:
        return
    reader.problem(
        "hires_scale",
        "result_too_large",
        f"{width} × {height} times {scale:g} is {wide} × {tall}; at most {HIRES_SIDE_MAX:,} pixels "
        f"a side and {HIRES_PIXELS_MAX // 1_000_000} megapixels can be made. Choose less.",
        [wide, tall],
        [HIRES_SIDE_MAX, HIRES_PIXELS_MAX],
    )
