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
# Measured with denoisers of the true sizes (of SD 3 and Flux only some of their equal blocks) and
# random weights, one call, in the same way but bf16, so in numbers of two bytes:
#   512 px: SD 1.x 428, SDXL 392, SD 3 310, Flux 744;  768 px: SDXL 289
# bf16 on a CPU takes room for rearranged weights, too; no GPU has been measured yet.
FOOTPRINTS: Mapping[Architecture, Footprint] = MappingProxyType(
    {
        Architecture.SD15: PLAIN,
        Architecture.SDXL: Footprint(denoising=400),
        Architecture.SD3: Footprint(denoising=320),
        Architecture.FLUX: Footprint(denoising=750, can_split=False),
    }
)


def footprint_of(architecture: Architecture) -> Footprint:
    """That of a family; of what is none, that of the first."""
    return FOOTPRINTS.get(architecture, PLAIN)
