"""The recipe: everything that decides how a picture looks, checked once by one piece of code.

The web side parses what a person or a program asks for; the agent parses what the web side sends.
Both call `parse_recipe`, so neither can accept what the other refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gpuagent.protocol.asked import kind_asked
from gpuagent.protocol.controls import ControlUse, mappers_of, pictures_of, read_controls
from gpuagent.protocol.cutouts import CUTOUT_FIELDS, NOT_ASKED, CutoutResult, read_cutout
from gpuagent.protocol.enlarging import SCALES as SCALES
from gpuagent.protocol.enlarging import UPSCALED_SIDE_MAX as UPSCALED_SIDE_MAX
from gpuagent.protocol.enlarging import can_become as can_become
from gpuagent.protocol.loras import LoraUse, read_embeddings, read_loras
from gpuagent.protocol.mapping import MAP_FIELDS, read_map
from gpuagent.protocol.parts import REFINER_START, read_parts
from gpuagent.protocol.recipe_checks import KEPT_MIN as KEPT_MIN
from gpuagent.protocol.recipe_checks import SIDES as SIDES
from gpuagent.protocol.recipe_checks import check_together
from gpuagent.protocol.recipe_reader import FieldProblem as FieldProblem
from gpuagent.protocol.recipe_reader import Reader, as_float, is_digest, short
from gpuagent.protocol.recipe_reader import RecipeInvalidError as RecipeInvalidError
from gpuagent.protocol.references import (
    ReferenceUse,
    ip_adapters_of,
    read_references,
    references_by_role,
)
from gpuagent.protocol.taxonomy import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    AssetKind,
    ControlKind,
    InpaintArea,
)
from gpuagent.protocol.tuning import Tuning, asks_for_hires, hires_size, read_tuning

RECIPE_VERSION = 1
PROMPT_MAX_CHARACTERS = 4_000
STEPS_MIN, STEPS_MAX = 1, 150
GUIDANCE_MIN, GUIDANCE_MAX = 0.0, 30.0
SIDE_MIN, SIDE_MAX, SIDE_MULTIPLE = 64, 2_048, 8
SEED_MAX = 2**32 - 1
PICTURES_MAX = 16
CLIP_SKIP_MAX = 12
STRENGTH_MIN, STRENGTH_MAX = 0.05, 1.0
STRENGTH_OF_PICTURE, STRENGTH_OF_MASK = 0.7, 1.0
MASK_BLUR_MAX = 64
MASK_PADDING_MAX = 512
_CHANGES = ("mask", *(f"outpaint_{side}" for side in SIDES))
_SAID_UNDRAWN = {"model", "prompt", "image", "width", "height"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Tuning):
    """A checked request for `num_images_per_prompt` pictures.

    Sizes are in pixels; picture `i` uses seed `(seed + i) mod 2**32`. Several are made one by one,
    so that each can be made again by itself. `model` is the digest of a model version,
    `image` the SHA-256 of the starting picture's bytes (img2img) or None (txt2img).

    `mask` (SHA-256, white = change) keeps the rest of the starting picture as it is, but for a soft
    edge of `mask_blur` pixels. With the area *masked*, the model works at `width` × `height` on the
    mask and `mask_padding` pixels around it, and the result has the size of the starting picture.
    `outpaint_…` are the pixels that are added at each side; `width` and `height` are the result's.

    `embeddings` are the digests of those that the prompts call by their trigger words; `controls`
    what guides the picture, `references` what it takes after.

    `vae` is the digest of one that is used in place of the model's; `refiner` of a model that makes
    the steps from the share `refiner_start` of them on.

    With `scale` (2 or 4) the picture is only enlarged, by an upscaler: the prompt is then a note
    that finds it again, and `width` and `height` are the result's, 0 while they are not known yet.
    The same goes for `cutout`: the background is taken away, with a soft edge of so many pixels;
    and for `map_kind`: a network makes a map of this kind, of `width` × `height`.
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
    strength: float = STRENGTH_OF_PICTURE
    mask: str | None = None
    mask_blur: int = 4
    inpaint_area: InpaintArea = InpaintArea.WHOLE
    mask_padding: int = 32
    outpaint_left: int = 0
    outpaint_top: int = 0
    outpaint_right: int = 0
    outpaint_bottom: int = 0
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[str, ...] = ()
    controls: tuple[ControlUse, ...] = ()
    references: tuple[ReferenceUse, ...] = ()
    vae: str | None = None
    refiner: str | None = None
    refiner_start: float = REFINER_START
    scale: int = 0
    cutout: bool = False
    cutout_edge: int = 0
    cutout_result: CutoutResult = CutoutResult.PICTURE
    map_kind: ControlKind | None = None

    def seed_of(self, index: int) -> int:
        """The seed of picture `index`: all variations have the same."""
        return self.seed if self.variation_strength else (self.seed + index) % (SEED_MAX + 1)

    def variation_seed_of(self, index: int) -> int:
        """The seed that picture `index` is moved towards."""
        return (self.variation_seed + index) % (SEED_MAX + 1)

    def only(self, index: int) -> Recipe:
        """The recipe that makes just picture `index` again."""
        towards = self.variation_seed_of(index) if self.variation_strength else 0
        seed = self.seed_of(index)
        return replace(self, seed=seed, variation_seed=towards, num_images_per_prompt=1)

    @property
    def denoising_steps(self) -> int:
        """Steps the sampler really takes: img2img starts part of the way."""
        if not self.is_drawn:
            return 1
        if self.image is None:
            return self.num_inference_steps
        if not self.strength:
            return 0
        return max(1, min(int(self.num_inference_steps * self.strength), self.num_inference_steps))

    @property
    def is_upscale(self) -> bool:
        """Whether the picture is enlarged, and nothing is drawn."""
        return self.scale > 0

    @property
    def is_drawn(self) -> bool:
        """Whether a model draws it; else a picture is only enlarged, cut out or mapped."""
        return self.model_kind is AssetKind.CHECKPOINT

    @property
    def model_kind(self) -> AssetKind:
        """What kind of model makes it."""
        if self.is_upscale:
            return AssetKind.UPSCALER
        if self.map_kind is not None:
            return AssetKind.MAPPER
        return AssetKind.CUTTER if self.cutout else AssetKind.CHECKPOINT

    @property
    def result_size(self) -> tuple[int, int]:
        """Width and height of the result, unless only a masked area is worked on."""
        if self.is_hires:
            return hires_size(self.width, self.height, self.hires_scale)
        return self.width, self.height

    @property
    def is_outpaint(self) -> bool:
        """Whether the picture is extended."""
        return any(getattr(self, f"outpaint_{side}") for side in SIDES)

    @property
    def is_masked_area(self) -> bool:
        """Whether only the masked area is worked on, and the result has the picture's own size."""
        return self.mask is not None and self.inpaint_area is InpaintArea.MASKED

    @property
    def kept_size(self) -> tuple[int, int]:
        """Width and height of what the starting picture fills of the result."""
        width = self.width - self.outpaint_left - self.outpaint_right
        return width, self.height - self.outpaint_top - self.outpaint_bottom

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the pictures it is made from, by the name of the setting."""
        named = {"image": self.image, "mask": self.mask, **pictures_of(self.controls)}
        named |= references_by_role(self.references)
        return {name: sha256 for name, sha256 in named.items() if sha256 is not None}

    @property
    def adapters(self) -> tuple[str, ...]:
        """Digests of all that is laid over the model or works beside it, each once."""
        loras, nets = (use.digest for use in self.loras), (use.model for use in self.controls)
        parts = (digest for digest in (self.vae, self.refiner) if digest is not None)
        beside = (*nets, *mappers_of(self.controls), *parts, *self.enlargers)
        beside = (*beside, *ip_adapters_of(self.references))
        return tuple(dict.fromkeys((*loras, *self.embeddings, *beside)))

    def _unsaid(self) -> set[str]:
        """Settings that mean nothing here; recipes without a mask are written as ever."""
        if not self.is_drawn:
            fields, own = self.__dataclass_fields__, ("scale", *CUTOUT_FIELDS, *MAP_FIELDS)
            said = {name for name in own if getattr(self, name) != fields[name].default}
            return set(fields) - _SAID_UNDRAWN - said
        named = ("loras", "embeddings", "controls", "references", "vae", "refiner")
        unsaid = self.untuned() | {"scale", *CUTOUT_FIELDS, *MAP_FIELDS}
        unsaid |= {name for name in named if not getattr(self, name)}
        if self.guidance_scale <= 1:
            unsaid.add("guidance_end")
        if self.refiner is None:
            unsaid.add("refiner_start")
        if self.mask is None:
            unsaid |= {"mask", "inpaint_area", "mask_padding"}
        if not self.is_outpaint:
            unsaid |= {f"outpaint_{side}" for side in SIDES}
        if self.mask is None and not self.is_outpaint:
            unsaid.add("mask_blur")
        return unsaid

    def normal(self) -> Recipe:
        """With defaults in what means nothing here, so that equal pictures have equal recipes."""
        fields = self.__dataclass_fields__
        defaults: dict[str, Any] = {name: fields[name].default for name in self._unsaid()}
        return replace(self, **defaults)

    def to_wire(self) -> dict[str, object]:
        """Plain JSON values, with the version of this format."""
        unsaid = self._unsaid()
        said = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in unsaid
        }
        for name in {"controls", "references"} - unsaid:
            said[name] = [use.to_wire() for use in getattr(self, name)]
        return {"version": RECIPE_VERSION, **said}

    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes have equal digests."""
        canonical = json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


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
    for field in (*_CHANGES, "cutout", *MAP_FIELDS):
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
    return _undrawn(reader, missing, read_cutout(reader, (*_CHANGES, *MAP_FIELDS)))


def _map(reader: Reader) -> Recipe:
    """What a map needs; settings of drawing are dropped."""
    missing = "Choose a map maker; if there is none, an admin can register one."
    return _undrawn(reader, missing, read_map(reader, _CHANGES, side_max=SIDE_MAX))


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
    has_mask = any(reader.raw.get(name) not in (None, "", 0, "0") for name in _CHANGES)
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
