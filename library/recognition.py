"""What a safetensors file is, from the names and shapes in its header alone. Pure.

One table, read from the top: the first sign that fits says kind and family. A kind or family that
cannot be used yet is still recognised, so that the sentence says what it is and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.adapter_files import AdapterUnfitError, kind_of
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from library.tensor_files import Shape, TensorFile

Names = Mapping[str, Shape]

FAMILY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "sd15": "Stable Diffusion 1.5",
        "sd2": "Stable Diffusion 2",
        "sdxl": "SDXL",
        "sdxl-refiner": "SDXL refiner",
        "sd3": "Stable Diffusion 3",
        "flux": "Flux",
        "esrgan": "ESRGAN",
        "clip_vision": "CLIP",
        "depth_anything": "Depth Anything",
        "dpt": "DPT",
        "vitpose": "ViTPose",
    }
)
# Width of the words that a U-Net reads: tells what a LoRA, a ControlNet or an embedding is for.
_BY_WIDTH: Mapping[int, str] = MappingProxyType(
    {768: "sd15", 1_024: "sd2", 1_280: "sdxl", 2_048: "sdxl", 4_096: "flux"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """`kind` and `family` as words; what of them the library knows is in the two properties.

    `advice` is what to do with a file that cannot be used as it is; empty for one that can.
    """

    kind: str
    family: str = ""
    advice: str = ""

    @property
    def asset_kind(self) -> AssetKind | None:
        """The kind of the library's entry, if it keeps such."""
        return next((kind for kind in AssetKind if kind.value == self.kind), None)

    @property
    def architecture(self) -> Architecture | None:
        """The family, if agents here can load it."""
        return next((known for known in Architecture if known.value == self.family), None)

    @property
    def said(self) -> str:
        """`a LoRA for SDXL`."""
        noun = KIND_NAMES.get(self.kind, self.kind)
        article = "an" if noun[0] in "aeiouAEIO" else "a"
        family = FAMILY_NAMES.get(self.family, self.family)
        return f"{article} {noun} for {family}" if family else f"{article} {noun}"


KIND_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "checkpoint": "checkpoint",
        "lora": "LoRA",
        "embedding": "textual inversion",
        "upscaler": "upscaler",
        "controlnet": "ControlNet",
        "vae": "VAE",
        "cutter": "background remover",
        "mapper": "map maker",
        "unet": "U-Net alone",
        "text_encoder": "text encoder alone",
        "t2i_adapter": "T2I-Adapter",
        "ip_adapter": "IP-Adapter",
        "image_encoder": "image encoder",
        "lycoris": "LoHa, LoKr or DoRA",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """Names (patterns from the start) of which all must be there."""

    kind: str
    names: tuple[str, ...]
    family: str | Callable[[Names], str] = ""
    advice: str = ""


def _by_words(shapes: Names) -> str:
    """By the layers that look at words."""
    widths = (
        shape[-1] if "lora_up" not in name and "lora_B" not in name else 0
        for name, shape in shapes.items()
        if len(shape) >= 2 and re.search(r"attn2[._](?:processor\.)?to_k", name)
    )
    return next((_BY_WIDTH[width] for width in widths if width in _BY_WIDTH), "")


def _of_lora(shapes: Names) -> str:
    names = " ".join(list(shapes)[:4_000])
    if "single_transformer_blocks" in names or "double_blocks" in names:
        return "flux"
    if "joint_blocks" in names or re.search(r"transformer\.transformer_blocks", names):
        return "sd3"
    if re.search(r"lora_te2_|text_encoder_2\.", names):
        return "sdxl"
    found = (
        shape[1] if len(shape) >= 2 else 0
        for name, shape in shapes.items()
        if re.search(r"attn2[._](?:processor\.)?to_k", name) and re.search(r"down|lora_A", name)
    )
    return next((_BY_WIDTH[width] for width in found if width in _BY_WIDTH), "")


def _of_embedding(shapes: Names) -> str:
    if {"clip_l", "clip_g"} <= set(shapes):
        return "sdxl"
    shape = next(iter(shapes.values()))
    return _BY_WIDTH.get(shape[-1] if shape else 0, "")


def _of_original_control(shapes: Names) -> str:
    return "sdxl" if any("label_emb" in name for name in shapes) else _by_words(shapes)


def _of_ip_adapter(shapes: Names) -> str:
    """By its layers: as wide as the words of the model, and as many as there look at them."""
    own = [shape for name, shape in shapes.items() if re.match(r"ip_adapter\..*to_k_ip\.", name)]
    width = own[0][-1] if own and own[0] else 0
    return {(768, 16): "sd15", (1_024, 16): "sd2", (2_048, 70): "sdxl"}.get((width, len(own)), "")


_BLOCKS = r"model\.diffusion_model\.input_blocks\.0\.0\.weight"
_WHOLE = "Only checkpoints that hold the text encoder and the VAE, too, can be added as one file."
_FOLDER = "Register its diffusers folder with `manage.py register_model` instead."
_NOT_YET = "It cannot be used here yet."
_SIGNS: tuple[_Sign, ...] = (
    _Sign(
        kind="controlnet",
        names=(r"lora_controlnet$",),
        advice="A Control-LoRA cannot be used; ask for the whole ControlNet.",
    ),
    _Sign(
        kind="controlnet",
        names=(r"(control_model\.)?input_hint_block\.0\.weight",),
        family=_of_original_control,
    ),
    _Sign(
        kind="controlnet",
        names=(r"controlnet_cond_embedding\.conv_in\.weight",),
        family=_by_words,
    ),
    _Sign(kind="controlnet", names=(r"lllite_unet",), family="sdxl", advice=_NOT_YET),
    _Sign(
        kind="ip_adapter",
        names=(r"ip_adapter\.", r"image_proj\.(perceiver_resampler|proj\.0)\.", r".*norm\.weight"),
        advice="Those that look at faces (FaceID) cannot be used here.",
    ),
    _Sign(kind="ip_adapter", names=(r"ip_adapter\.",), family=_of_ip_adapter),
    _Sign(
        kind="image_encoder",
        names=(r"vision_model\.embeddings\.class_embedding", r"visual_projection\.weight"),
    ),
    _Sign(kind="t2i_adapter", names=(r"(adapter\.)?body\.0\.resnets\.0\.block1",), advice=_NOT_YET),
    _Sign(
        kind="checkpoint",
        names=(_BLOCKS, r"conditioner\.embedders\.1\.model\."),
        family="sdxl",
    ),
    _Sign(
        kind="checkpoint",
        names=(_BLOCKS, r"conditioner\.embedders\.0\.model\."),
        family="sdxl-refiner",
        advice=_FOLDER,
    ),
    _Sign(
        kind="checkpoint",
        names=(_BLOCKS, r"cond_stage_model\.model\."),
        family="sd2",
        advice="No agent here can load this family.",
    ),
    _Sign(
        kind="checkpoint",
        names=(_BLOCKS, r"cond_stage_model\.transformer\.", r"first_stage_model\."),
        family="sd15",
    ),
    _Sign(kind="unet", names=(_BLOCKS,), advice=_WHOLE),
    _Sign(
        kind="checkpoint",
        names=(r"(model\.diffusion_model\.)?joint_blocks\.0\.",),
        family="sd3",
        advice=_FOLDER,
    ),
    _Sign(
        kind="checkpoint",
        names=(r"(model\.diffusion_model\.)?double_blocks\.0\.img_attn\.",),
        family="flux",
        advice=_FOLDER,
    ),
    _Sign(
        kind="lycoris",
        names=(r".*(hada_w1_a|lokr_w1|lokr_w1_a|dora_scale)$",),
        advice="Only plain LoRAs can be used; many tools can save this one as such.",
    ),
    _Sign(
        kind="vae",
        names=(r"(first_stage_model\.|vae\.)?encoder\.conv_in\.weight", r".*decoder\.conv_in\.w"),
    ),
    _Sign(kind="upscaler", names=(r"body\.0\.weight", r"body\.1\.weight"), family="esrgan"),
    _Sign(
        kind="upscaler",
        names=(r"(body\.0\.rdb1|model\.1\.sub\.0\.RDB1|RRDB_trunk\.0\.RDB1)\.conv1",),
        family="esrgan",
    ),
    _Sign(
        kind="unet",
        names=(r"down_blocks\.0\.resnets\.0\.", r"time_embedding\.linear_1\."),
        advice=f"It is a part of a diffusers folder. {_FOLDER}",
    ),
    _Sign(kind="mapper", names=(r"head\.conv3\.weight", r"neck\.", r"backbone\.")),
    _Sign(kind="mapper", names=(r"head\.head\.0\.weight", r"neck\.")),
    _Sign(kind="mapper", names=(r"head\.conv\.weight", r"backbone\.embeddings\.")),
    _Sign(
        kind="text_encoder",
        names=(r"(text_model\.)?embeddings\.token_embedding\.weight",),
        advice=f"It is a part of a model. {_FOLDER}",
    ),
)


def recognise_file(file: TensorFile) -> Recognised | None:
    """Kind and family; None if it is nothing that is known."""
    names = list(file.entries)
    shapes = file.shapes
    for sign in _SIGNS:
        patterns = [re.compile(pattern) for pattern in sign.names]
        if all(any(pattern.match(name) for name in names) for pattern in patterns):
            family = sign.family if isinstance(sign.family, str) else sign.family(shapes)
            return Recognised(kind=sign.kind, family=family, advice=sign.advice)
    if set(shapes) == {"clip_l", "clip_g"}:
        return Recognised(kind="embedding", family="sdxl", advice=_NOT_YET)
    try:
        kind = kind_of(file.header)
    except AdapterUnfitError:
        return None
    family = _of_lora(shapes) if kind is AssetKind.LORA else _of_embedding(shapes)
    return Recognised(kind=kind.value, family=family)
