"""What the families of models can be asked for: the rules that go beyond a recipe's own. Pure.

The web side tells them as problems of fields; the agent refuses what got past that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_reader import FieldProblem
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS, Architecture, Sampler

_DPM, _FLOW_EULER = "DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"
_CLASSES: Mapping[str, tuple[str, Mapping[str, str | bool | int]]] = {
    "euler": (_FLOW_EULER, {}),
    "euler_karras": (_FLOW_EULER, {"use_karras_sigmas": True}),
    "euler_beta": (_FLOW_EULER, {"use_beta_sigmas": True}),
    "dpmpp_2m": (_DPM, {}),
    "dpmpp_2m_sde": (_DPM, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("FlowMatchLCMScheduler", {}),
}
# The same names for artists; other classes or other settings, since noise gives way in a straight
# line. Second-order samplers are not among them: the pipelines count their steps wrong.
FLOW_SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        id_: Sampler(id=id_, label=SAMPLERS[id_].label, class_name=name, options=options)
        for id_, (name, options) in _CLASSES.items()
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Of one family. Sides are multiples of `side_multiple` pixels; a wide one does not fit into
    float16.
    """

    name: str
    samplers: Mapping[str, Sampler]
    default_sampler: str = DEFAULT_SAMPLER
    side_multiple: int = 8
    has_negative_prompt: bool = True
    has_clip_skip: bool = True
    is_wide: bool = False
    can_refer: bool = True
    takes_sigmas: bool = True
    can_tile: bool = True


_FLOW_SAMPLER = "euler"
FAMILIES: Mapping[Architecture, Rules] = MappingProxyType(
    {
        Architecture.SD15: Rules(name="Stable Diffusion 1.x", samplers=SAMPLERS),
        Architecture.SDXL: Rules(name="Stable Diffusion XL", samplers=SAMPLERS),
        Architecture.SD3: Rules(
            name="Stable Diffusion 3",
            samplers=FLOW_SAMPLERS,
            default_sampler=_FLOW_SAMPLER,
            side_multiple=16,
            is_wide=True,
            can_refer=False,
            takes_sigmas=False,
        ),
        Architecture.FLUX: Rules(
            name="Flux",
            samplers=FLOW_SAMPLERS,
            default_sampler=_FLOW_SAMPLER,
            side_multiple=16,
            has_negative_prompt=False,
            has_clip_skip=False,
            is_wide=True,
            can_refer=False,
            takes_sigmas=False,
            can_tile=False,
        ),
    }
)


def default_sampler(architecture: Architecture) -> str:
    """The sampler of a recipe that names none."""
    rules = FAMILIES.get(architecture)
    return rules.default_sampler if rules is not None else DEFAULT_SAMPLER


def dtype_said(dtype: str, architecture: Architecture) -> str:
    """The numbers that a model of this family is computed in, where others are in `dtype`."""
    rules = FAMILIES.get(architecture)
    if rules is None or not rules.is_wide or not dtype.startswith("float16"):
        return dtype
    return f"b{dtype}"


def families_with(sampler_id: str) -> list[str]:
    """The families that a sampler works with."""
    return [family.value for family, rules in FAMILIES.items() if sampler_id in rules.samplers]


def check_family(recipe: Recipe, architecture: Architecture) -> tuple[FieldProblem, ...]:
    """What of a recipe a model of this family cannot do."""
    rules = FAMILIES.get(architecture)
    if rules is None or not recipe.is_drawn:
        return ()
    checks = (_sampler, _sides, _words, _tuning)
    return tuple(problem for check in checks for problem in check(recipe, rules))


def _sampler(recipe: Recipe, rules: Rules) -> list[FieldProblem]:
    if recipe.sampler in rules.samplers:
        return []
    named = ", ".join(sampler.label for sampler in rules.samplers.values())
    message = (
        f"{SAMPLERS[recipe.sampler].label} does not work with {rules.name}. Choose one of: {named}."
    )
    return [_problem("sampler", "not_with_model", message, recipe.sampler, list(rules.samplers))]


def _sides(recipe: Recipe, rules: Rules) -> list[FieldProblem]:
    problems = []
    for field, label, side in (
        ("width", "Width", recipe.width),
        ("height", "Height", recipe.height),
    ):
        below = side - side % rules.side_multiple
        if side != below:
            near = f"{below} or {below + rules.side_multiple}"
            message = (
                f"{label} is {side}; for {rules.name} it must be a multiple of "
                f"{rules.side_multiple}, like {near}."
            )
            problems.append(_problem(field, "not_a_multiple", message, side, rules.side_multiple))
    return problems


def _words(recipe: Recipe, rules: Rules) -> list[FieldProblem]:
    problems = []
    if recipe.negative_prompt.strip() and not rules.has_negative_prompt:
        message = f"{rules.name} reads no negative prompt. Remove it; say what you want instead."
        problems.append(_problem("negative_prompt", "not_with_model", message))
    if recipe.clip_skip and not rules.has_clip_skip:
        message = f"Clip skip means nothing for {rules.name}. Set it to 0."
        problems.append(_problem("clip_skip", "not_with_model", message, recipe.clip_skip, 0))
    if recipe.references and not rules.can_refer:
        message = f"{rules.name} cannot take after a picture. Remove the references."
        problems.append(_problem("references", "not_with_model", message))
    return problems


def _tuning(recipe: Recipe, rules: Rules) -> list[FieldProblem]:
    problems = []
    if recipe.sigmas and not rules.takes_sigmas:
        message = f"{rules.name} spreads its steps by its samplers alone. Leave the sigmas out."
        problems.append(_problem("sigmas", "not_with_model", message, recipe.sigmas))
    if recipe.guidance_end < 1 and not rules.has_negative_prompt:
        message = f"{rules.name} has no second half of guidance to leave out. Set it to 1."
        problems.append(_problem("guidance_end", "not_with_model", message, recipe.guidance_end, 1))
    if recipe.hires_tile and not rules.can_tile:
        message = f"{rules.name} draws in one piece. Set the tiles to 0."
        problems.append(_problem("hires_tile", "not_with_model", message, recipe.hires_tile, 0))
    return problems


def can_tile(architecture: Architecture) -> bool:
    """Whether a second, larger drawing can be made in tiles."""
    rules = FAMILIES.get(architecture)
    return rules is not None and rules.can_tile


def can_refer(architecture: Architecture) -> bool:
    """Whether what is drawn can take after reference pictures: layers of self-attention do it."""
    rules = FAMILIES.get(architecture)
    return rules is not None and rules.can_refer


def _problem(
    field: str, code: str, message: str, value: object = None, limit: object = None
) -> FieldProblem:
    return FieldProblem(field=field, code=code, message=message, value=value, limit=limit)
