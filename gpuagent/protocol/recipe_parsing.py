"""Checking a recipe, once, by one piece of code.

The web side parses what a person or a program asks for; the agent parses what the web side sends.
Both call `parse_recipe`, so neither can accept what the other refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gpuagent.protocol.asked import kind_asked
from gpuagent.protocol.controls import read_controls
from gpuagent.protocol.cutouts import NOT_ASKED, read_cutout
from gpuagent.protocol.enlarging import SCALES, UPSCALED_SIDE_MAX
from gpuagent.protocol.loras import read_embeddings, read_loras
from gpuagent.protocol.mapping import MAP_FIELDS, read_map
from gpuagent.protocol.parts import read_parts
from gpuagent.protocol.recipe import (
    CHANGES,
    CLIP_SKIP_MAX,
    GUIDANCE_MAX,
    GUIDANCE_MIN,
    MASK_BLUR_MAX,
    MASK_PADDING_MAX,
    PICTURES_MAX,
    PROMPT_MAX_CHARACTERS,
    RECIPE_VERSION,
    SEED_MAX,
    SIDE_MAX,
    SIDE_MIN,
    SIDE_MULTIPLE,
    SIDES,
    STEPS_MAX,
    STEPS_MIN,
    STRENGTH_MAX,
    STRENGTH_MIN,
    STRENGTH_OF_MASK,
    STRENGTH_OF_PICTURE,
    Recipe,
)
from gpuagent.protocol.recipe_checks import check_together
from gpuagent.protocol.recipe_reader import (
    Reader,
    RecipeInvalidError,
    as_float,
    is_digest,
    short,
)
from gpuagent.protocol.references import read_references
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS, AssetKind, InpaintArea
from gpuagent.protocol.tuning import asks_for_hires, read_tuning


def parse_recipe(raw: Mapping[str, object]) -> Recipe:
    """Check everything that can be checked without knowing the library or the fleet.

    Unknown keys are refused, so that a misspelt setting is never silently ignored.

    Raises:
        RecipeInvalidError: with one `FieldProblem` per thing that is wrong.
    """
    reader = Reader(raw)
    if raw.get("version", RECIPE_VERSION) != RECIPE_VERSION:
        reader.problem("version", "unknown_version", f"This side reads version {RECIPE_VERSION}.")
    for key in sorted(set(raw) - set(Recipe.__dataclass_fields__) - {"version"}, key=str):
        reader.problem(short(key), "unknown_field", f"There is no setting called {short(key)!r}.")
    makers = {AssetKind.UPSCALER: _upscale, AssetKind.CUTTER: _cutout, AssetKind.MAPPER: _map}
    make = makers.get(kind_asked(raw))
    recipe = make(reader) if make is not None else _with_more(reader, _plain(reader))
    if reader.problems:
        raise RecipeInvalidError(tuple(reader.problems))
    return recipe


def _upscale(reader: Reader) -> Recipe:
    """What an upscale needs; settings of drawing are dropped, a mask or an extension is told."""
    scale = reader.integer("scale", 0, SCALES[0], SCALES[-1], "The scale", multiple=SCALES[0])
    for field in (*CHANGES, "cutout", *MAP_FIELDS):
        if reader.raw.get(field) not in NOT_ASKED:
            message = "A picture is enlarged as it is. Repaint or extend it before or after that."
            reader.problem(field, "not_with_scale", message)
            break
    if reader.raw.get("image") in (None, ""):
        reader.problem("image", "needs_image", "There is no picture to enlarge. Add one.")
    missing = "Choose an upscaler; if there is none, an admin can register one."
    return _undrawn(reader, missing, {"scale": scale})


def _cutout(reader: Reader) -> Recipe:
    """What taking the background away needs; settings of drawing are dropped."""
    missing = "Choose a background remover; if there is none, an admin can register one."
    return _undrawn(reader, missing, read_cutout(reader, (*CHANGES, *MAP_FIELDS)))


def _map(reader: Reader) -> Recipe:
    """What a map needs; settings of drawing are dropped."""
    missing = "Choose a map maker; if there is none, an admin can register one."
    return _undrawn(reader, missing, read_map(reader, CHANGES, side_max=SIDE_MAX))


def _undrawn(reader: Reader, missing: str, more: dict[str, Any]) -> Recipe:
    """What is made of a picture without drawing; `missing` says so if no model is named."""
    plain = Recipe(
        model=_model(reader, missing),
        prompt=reader.text("prompt", default="", maximum=PROMPT_MAX_CHARACTERS, label="The prompt"),
        image=reader.picture("image", "starting picture"),
        width=reader.integer("width", 0, 0, UPSCALED_SIDE_MAX, "Width"),
        height=reader.integer("height", 0, 0, UPSCALED_SIDE_MAX, "Height"),
    )
    return replace(plain, **more)


def _plain(reader: Reader) -> Recipe:
    """Everything but mask, extension and adapters."""
    has_mask = any(reader.raw.get(name) not in (None, "", 0, "0") for name in CHANGES)
    return Recipe(
        model=_model(reader),
        prompt=reader.text(
            "prompt", default=None, maximum=PROMPT_MAX_CHARACTERS, label="The prompt"
        ),
        negative_prompt=reader.text(
            "negative_prompt", default="", maximum=PROMPT_MAX_CHARACTERS, label="Negative prompt"
        ),
        num_inference_steps=reader.integer(
            "num_inference_steps", 20, STEPS_MIN, STEPS_MAX, "Steps"
        ),
        guidance_scale=reader.number(
            "guidance_scale",
            default=5.0,
            minimum=GUIDANCE_MIN,
            maximum=GUIDANCE_MAX,
            label="Guidance",
            convert=as_float,
        ),
        width=_side(reader, "width", "Width"),
        height=_side(reader, "height", "Height"),
        seed=reader.integer("seed", 0, 0, SEED_MAX, "The seed"),
        sampler=reader.one_of(
            "sampler", list(SAMPLERS), DEFAULT_SAMPLER, "unknown_sampler", "sampler"
        ),
        num_images_per_prompt=reader.integer(
            "num_images_per_prompt", 1, 1, PICTURES_MAX, "The number of pictures"
        ),
        clip_skip=reader.integer("clip_skip", 0, 0, CLIP_SKIP_MAX, "Clip skip"),
        image=reader.picture("image", "starting picture"),
        strength=reader.number(
            "strength",
            default=STRENGTH_OF_MASK if has_mask else STRENGTH_OF_PICTURE,
            # A picture that is only refined at a larger size stays as it is before that.
            minimum=0.0 if asks_for_hires(reader.raw) else STRENGTH_MIN,
            maximum=STRENGTH_MAX,
            label="Strength",
            convert=as_float,
        ),
    )


def _model(reader: Reader, missing: str = "Choose a model.") -> str:
    value = reader.raw.get("model")
    if not is_digest(value):
        reader.problem("model", "unknown_model", missing, short(value))
        return ""
    return str(value)


def _side(reader: Reader, field: str, label: str) -> int:
    return reader.integer(field, 128, SIDE_MIN, SIDE_MAX, label, multiple=SIDE_MULTIPLE)


def _with_more(reader: Reader, recipe: Recipe) -> Recipe:
    """What is to change and what to add. Settings of a mask that is not there are dropped, so that
    equal pictures have equal recipes; only *Masked area* without a mask is told.
    """
    areas = [area.value for area in InpaintArea]
    sides: dict[str, Any] = {
        f"outpaint_{side}": reader.integer(
            f"outpaint_{side}", 0, 0, SIDE_MAX, side.capitalize(), multiple=SIDE_MULTIPLE
        )
        for side in SIDES
    }
    asked = replace(
        recipe,
        mask=reader.picture("mask", "mask"),
        mask_blur=reader.integer("mask_blur", 4, 0, MASK_BLUR_MAX, "The soft edge"),
        inpaint_area=InpaintArea(
            reader.one_of("inpaint_area", areas, InpaintArea.WHOLE, "unknown_area", "area")
        ),
        mask_padding=reader.integer("mask_padding", 32, 0, MASK_PADDING_MAX, "The padding"),
        loras=read_loras(reader),
        embeddings=read_embeddings(reader),
        controls=read_controls(reader),
        references=read_references(reader),
        **read_parts(reader),
        **read_tuning(reader),
        **sides,
    )
    check_together(reader, asked)
    return asked.normal()
