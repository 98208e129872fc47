"""Will this picture fit? Estimates in bytes, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from gpuagent.protocol.recipe import Recipe

BYTES_PER_ACTIVATION = 4
# Peak activations per output pixel of a UNet + VAE decode. Measured as the slope of peak memory
# over pixels on the house model (CPU, fp32); see docs/benchmarks.md. To be learned per model.
ACTIVATIONS_PER_PIXEL = 640
OVERHEAD_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What making one picture needs beside what is resident already."""

    weights_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.activation_bytes + OVERHEAD_BYTES


def estimate(recipe: Recipe, *, weights_bytes: int) -> Estimate:
    """Memory for one picture at batch 1; `weights_bytes` as loaded (after dtype conversion)."""
    pixels = recipe.width * recipe.height
    return Estimate(
        weights_bytes=weights_bytes,
        activation_bytes=pixels * ACTIVATIONS_PER_PIXEL * BYTES_PER_ACTIVATION,
    )


def largest_side(*, available_bytes: int, weights_bytes: int, multiple: int = 8) -> int:
    """The largest square side in pixels that fits, a multiple of `multiple`; 0 if nothing does."""
    room = available_bytes - weights_bytes - OVERHEAD_BYTES
    if room <= 0:
        return 0
    side = int((room / (ACTIVATIONS_PER_PIXEL * BYTES_PER_ACTIVATION)) ** 0.5)
    return side - side % multiple
