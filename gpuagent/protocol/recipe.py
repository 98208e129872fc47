"""The recipe: everything that decides how a picture looks. `recipe_parsing` makes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from gpuagent.protocol.controls import ControlUse, mappers_of, pictures_of
from gpuagent.protocol.cutouts import CUTOUT_FIELDS, CutoutResult
from gpuagent.protocol.enlarging import SCALES as SCALES
from gpuagent.protocol.enlarging import UPSCALED_SIDE_MAX as UPSCALED_SIDE_MAX
from gpuagent.protocol.enlarging import can_become as can_become
from gpuagent.protocol.loras import LoraUse
from gpuagent.protocol.mapping import MAP_FIELDS
from gpuagent.protocol.parts import REFINER_START
from gpuagent.protocol.recipe_reader import FieldProblem as FieldProblem
from gpuagent.protocol.recipe_reader import RecipeInvalidError as RecipeInvalidError
from gpuagent.protocol.references import (
    ReferenceUse,
    ip_adapters_of,
    references_by_role,
)
from gpuagent.protocol.taxonomy import (
    DEFAULT_SAMPLER,
    AssetKind,
    ControlKind,
    InpaintArea,
)
from gpuagent.protocol.tuning import Tuning, hires_size

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
SIDES = ("left", "top", "right", "bottom")
CHANGES = ("mask", *(f"outpaint_{side}" for side in SIDES))
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
    the steps from the share `refiner_start` of them on: of the second drawing, if there are two.

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
    def handover(self) -> float:
        """Where the refiner begins: how much of all noise is gone. A picture that starts from
        another one has less of it to lose, of which the model itself takes its share.
        """
        if self.denoising_steps == self.num_inference_steps:
            return self.refiner_start
        share = self.denoising_steps / self.num_inference_steps
        return 1 - share * (1 - self.refiner_start)

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
