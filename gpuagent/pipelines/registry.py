"""Which loader belongs to which architecture, and how large a model will be once loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.control import ControlNet
from gpuagent.pipelines.cutout import CUTTER_NAME, Cutter
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.flux import Flux
from gpuagent.pipelines.ip_adapter import ENCODER_FOLDER, IP_ADAPTER_NAME, IPAdapter
from gpuagent.pipelines.loaded import LoadedModel as LoadedModel
from gpuagent.pipelines.mapper import load_mapper
from gpuagent.pipelines.sd3 import StableDiffusion3
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.pipelines.upscale import WEIGHTS_NAME, Upscaler
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.planning.plan import Parts
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.mapper_files import WEIGHTS_NAME as MAPPER_NAME
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import Architecture, AssetKind

LOADERS: Mapping[Architecture, type[Family]] = MappingProxyType(
    {
        Architecture.SD15: StableDiffusion15,
        Architecture.SDXL: StableDiffusionXL,
        Architecture.SD3: StableDiffusion3,
        Architecture.FLUX: Flux,
    }
)
CONTROL_NAME = "diffusion_pytorch_model.safetensors"
_TILE_SIDE = 512
_HEADER_MAX_BYTES = 100_000_000


def import_libraries() -> None:
    """Import what loading needs: seconds that can pass while the studio is still starting."""
    from diffusers import (
        StableDiffusionImg2ImgPipeline,
        StableDiffusionInpaintPipeline,
        StableDiffusionPipeline,
    )
    from transformers import CLIPTextModel, CLIPTokenizer

    del StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
    del CLIPTextModel, CLIPTokenizer


def load_model(
    ref: ModelRef, folder: Path, engine: Engine, *, notes: Path, is_half: bool = False
) -> LoadedModel:
    """Load a model version from its folder; it is in host memory until it is brought.

    Raises:
        Exception: whatever the loaders raise on files that are not such a model.
    """
    if ref.kind is AssetKind.CONTROLNET:
        return ControlNet(folder, engine, is_half=is_half)
    if ref.kind is AssetKind.IP_ADAPTER:
        return IPAdapter(folder, engine, is_half=is_half)
    if ref.kind is AssetKind.VAE:
        return Autoencoder(folder, engine, is_half=is_half)
    if ref.kind is AssetKind.MAPPER:
        return load_mapper(ref.architecture, folder, engine, is_half=is_half)
    if ref.architecture is Architecture.ESRGAN:
        return Upscaler(folder, engine)
    if ref.architecture is Architecture.U2NET:
        return Cutter(folder, engine)
    return LOADERS[ref.architecture](folder, engine, notes=notes, is_half=is_half)


def measure_parts(folder: Path, engine: Engine) -> Parts:
    """Memory the weights will take on the device, from the headers of their files alone.

    Raises:
        AttemptFailedError: a header cannot be read.
    """
    size = engine.bytes_per_parameter
    for name in (WEIGHTS_NAME, CUTTER_NAME, MAPPER_NAME):
        if (folder / name).exists():
            return Parts(encoders=0, denoiser=_parameters(folder / name) * size, vae=0)
    if (folder / IP_ADAPTER_NAME).exists():
        encoder, laid = _parameters_in(folder / ENCODER_FOLDER), _parameters_in(folder)
        return Parts(encoders=encoder * size, denoiser=laid * size, vae=0)
    if (folder / CONTROL_NAME).exists():
        each = 4 if _is_vae(folder) else size
        return Parts(encoders=0, denoiser=_parameters_in(folder) * each, vae=0)
    encoders = sum(_parameters_in(each) for each in folder.glob("text_encoder*"))
    denoiser = _parameters_in(folder / "unet") + _parameters_in(folder / "transformer")
    return Parts(
        encoders=encoders * size,
        denoiser=denoiser * size,
        vae=_parameters_in(folder / "vae") * 4,
    )


def tile_side(folder: Path) -> int:
    """The side of the tiles that the model's VAE would be used in."""
    try:
        side = json.loads((folder / "vae" / "config.json").read_bytes())["sample_size"]
        return int(side if not isinstance(side, list) else side[0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return _TILE_SIDE


def _is_vae(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_bytes())["latent_channels"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _parameters_in(folder: Path) -> int:
    return sum(_parameters(path) for path in sorted(folder.glob("*.safetensors")))


def _parameters(path: Path) -> int:
    """Numbers in a safetensors file: 8 bytes of header size, then JSON with every shape."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= _HEADER_MAX_BYTES:
                raise ValueError("odd header")
            header = json.loads(file.read(size))
        return sum(math.prod(e["shape"]) for name, e in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AttemptFailedError(
            FailureCode.MODEL_UNREADABLE, reason=type(error).__name__
        ) from error
