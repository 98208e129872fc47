"""The closed lists of the field: samplers, architectures, kinds of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Architecture(StrEnum):
    """Families of models an agent can load."""

    SD15 = "sd15"
    SDXL = "sdxl"
    SD3 = "sd3"
    FLUX = "flux"
    ESRGAN = "esrgan"
    U2NET = "u2net"
    DEPTH_ANYTHING = "depth_anything"
    DPT = "dpt"
    VITPOSE = "vitpose"
    CLIP_VISION = "clip_vision"


class AssetKind(StrEnum):
    """What a library entry is."""

    CHECKPOINT = "checkpoint"
    LORA = "lora"
    EMBEDDING = "embedding"
    UPSCALER = "upscaler"
    CUTTER = "cutter"
    MAPPER = "mapper"
    CONTROLNET = "controlnet"
    VAE = "vae"
    IP_ADAPTER = "ip_adapter"
    IMAGE_ENCODER = "image_encoder"  # a part of IP-Adapters, kept to register them with


MODELS = frozenset({AssetKind.CHECKPOINT, AssetKind.UPSCALER, AssetKind.CUTTER, AssetKind.MAPPER})
ADAPTERS = frozenset({AssetKind.LORA, AssetKind.EMBEDDING})
# What a recipe names beside its model; a checkpoint finishes, as its refiner.
BESIDE_MODELS = ADAPTERS | {
    AssetKind.CONTROLNET,
    AssetKind.VAE,
    AssetKind.IP_ADAPTER,
    AssetKind.CHECKPOINT,
    AssetKind.UPSCALER,  # between two drawings
    AssetKind.MAPPER,  # before the first
}


class ControlKind(StrEnum):
    """What the map shows that a ControlNet reads."""

    CANNY = "canny"
    LINEART = "lineart"
    SCRIBBLE = "scribble"
    TILE = "tile"
    DEPTH = "depth"
    OPENPOSE = "openpose"


# The map that a network of the family makes.
MAPPED: Mapping[Architecture, ControlKind] = MappingProxyType(
    {
        Architecture.DEPTH_ANYTHING: ControlKind.DEPTH,
        Architecture.DPT: ControlKind.DEPTH,
        Architecture.VITPOSE: ControlKind.OPENPOSE,
    }
)


class ReferenceKind(StrEnum):
    """How a picture takes after another one."""

    REFERENCE = "reference"
    IP_ADAPTER = "ip_adapter"


class FileKind(StrEnum):
    """What a stored file of an output is."""

    PICTURE = "picture"
    THUMBNAIL = "thumbnail"


class InpaintArea(StrEnum):
    """What the model works on when a mask says what is to change."""

    WHOLE = "whole"
    MASKED = "masked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A noise scheduler under the name artists know.

    `class_name` is the diffusers class; `options` are laid over the model's own scheduler config.
    `is_second_order` samplers call the model (and the step callback) twice a step.
    """

    id: str
    label: str
    class_name: str
    options: Mapping[str, str | bool | int]
    is_second_order: bool = False


def _sampler(
    id_: str,
    label: str,
    class_name: str,
    *,
    second_order: bool = False,
    **options: str | bool | int,
) -> Sampler:
    return Sampler(
        id=id_,
        label=label,
        class_name=class_name,
        options=MappingProxyType(options),
        is_second_order=second_order,
    )


_DPM = "DPMSolverMultistepScheduler"
_SDE = "sde-dpmsolver++"
_EULER = "EulerDiscreteScheduler"

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        sampler.id: sampler
        for sampler in (
            _sampler("dpmpp_2m_karras", "DPM++ 2M Karras", _DPM, use_karras_sigmas=True),
            _sampler("dpmpp_2m", "DPM++ 2M", _DPM, use_karras_sigmas=False),
            _sampler(
                "dpmpp_2m_exponential", "DPM++ 2M Exponential", _DPM, use_exponential_sigmas=True
            ),
            _sampler("dpmpp_2m_beta", "DPM++ 2M Beta", _DPM, use_beta_sigmas=True),
            _sampler("dpmpp_2m_sde", "DPM++ 2M SDE", _DPM, algorithm_type=_SDE),
            _sampler(
                "dpmpp_2m_sde_karras",
                "DPM++ 2M SDE Karras",
                _DPM,
                algorithm_type=_SDE,
                use_karras_sigmas=True,
            ),
            _sampler("dpmpp_2s", "DPM++ 2S", "DPMSolverSinglestepScheduler"),
            _sampler("euler", "Euler", _EULER),
            _sampler("euler_karras", "Euler Karras", _EULER, use_karras_sigmas=True),
            _sampler("euler_beta", "Euler Beta", _EULER, use_beta_sigmas=True),
            _sampler("euler_a", "Euler a", "EulerAncestralDiscreteScheduler"),
            _sampler("heun", "Heun", "HeunDiscreteScheduler", second_order=True),
            _sampler("dpm2", "DPM2", "KDPM2DiscreteScheduler", second_order=True),
            _sampler("dpm2_a", "DPM2 a", "KDPM2AncestralDiscreteScheduler", second_order=True),
            _sampler("lms", "LMS", "LMSDiscreteScheduler"),
            _sampler("ddim", "DDIM", "DDIMScheduler", clip_sample=False),
            _sampler("ddpm", "DDPM", "DDPMScheduler", clip_sample=False),
            _sampler("plms", "PLMS", "PNDMScheduler", skip_prk_steps=True),
            _sampler("deis", "DEIS", "DEISMultistepScheduler"),
            _sampler("unipc", "UniPC", "UniPCMultistepScheduler"),
            _sampler(
                "unipc_karras", "UniPC Karras", "UniPCMultistepScheduler", use_karras_sigmas=True
            ),
            _sampler("lcm", "LCM", "LCMScheduler", clip_sample=False),
            _sampler("tcd", "TCD", "TCDScheduler", clip_sample=False),
        )
    }
)

DEFAULT_SAMPLER = "dpmpp_2m_karras"
