"""How much memory a family takes beside its weights. Pure: one row for each family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.taxonomy import Architecture

# Peak activations per output pixel while the VAE decodes at batch 1, as numbers of four bytes.
# Measured as growth of peak resident memory (VmHWM) over what was resident before; torch 2.13 on
# CPU, fp32:
#   a model of 16 MB,  192 to 768 px:   190 to 257   (its U-Net alone: 50)
#   true SD 1.x sizes, random weights, 384 and 512 px:   1,027 and 975   (its U-Net alone: 370)
# The larger decides, since an estimate that is too low kills a process. All families have a VAE of
# the same widths, so it is one number. To be learned per model version.
ACTIVATIONS_PER_PIXEL = 1_040


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Peak activations per output pixel, with guidance, in the denoiser's own precision.

    `can_split`: prompt and negative prompt are two rows of a batch, and half of it can be saved.
    """

    denoising: int
    decoding: int = ACTIVATIONS_PER_PIXEL
    can_split: bool = True


PLAIN = Footprint(denoising=370)
# Measured: SD 1.x, see above. The others are from figures that others published or from the shapes
# of the layers, and wait for a measurement:
#   SDXL: 1 to 3 GB beside 5.1 GB of half-precision weights at 1024 px; the middle.
#   SD 3 and Flux: a token is 16 x 16 pixels; of a block's widest layers and attention, twice.
FOOTPRINTS: Mapping[Architecture, Footprint] = MappingProxyType(
    {
        Architecture.SD15: PLAIN,
        Architecture.SDXL: Footprint(denoising=900),
        Architecture.SD3: Footprint(denoising=400),
        Architecture.FLUX: Footprint(denoising=400, can_split=False),
    }
)


def footprint_of(architecture: Architecture) -> Footprint:
    """That of a family; of what is none, that of the first."""
    return FOOTPRINTS.get(architecture, PLAIN)
