"""Which loader belongs to which architecture, and how large a model will be once loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.loaded import LoadedModel as LoadedModel
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.upscale import WEIGHTS_NAME, Upscaler
from gpuagent.planning.plan import Parts
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import Architecture

LOADERS: Mapping[Architecture, type[Family]] = MappingProxyType(
    {Architecture.SD15: StableDiffusion15}
)
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
    if ref.architecture is Architecture.ESRGAN:
        return Upscaler(folder, engine)
    return LOADERS[ref.architecture](folder, engine, notes=notes, is_half=is_half)


def measure_parts(folder: Path, engine: Engine) -> Parts:
    """Memory the weights will take on the device, from the headers of their files alone.

    Raises:
        AttemptFailedError: a header cannot be read.
    """
    size = engine.bytes_per_parameter
    if (folder / WEIGHTS_NAME).exists():
        return Parts(encoders=0, denoiser=_parameters(folder / WEIGHTS_NAME) * size, vae=0)
    return Parts(
        encoders=_parameters_in(folder / "text_encoder") * size,
        denoiser=_parameters_in(folder / "unet") * size,
        vae=_parameters_in(folder / "vae") * 4,
    )


def tile_side(folder: Path) -> int:
    """The side of the tiles that the model's VAE would be used in."""
    try:
        side = json.loads((folder / "vae" / "config.json").read_bytes())["sample_size"]
        return int(side if not isinstance(side, list) else side[0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return _TILE_SIDE


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
