"""Will taking the background away fit? The network reads one small size; the result grows."""

from __future__ import annotations

from gpuagent.planning.memory import OVERHEAD_BYTES, Estimate
from gpuagent.planning.plan import Plan, Verdict
from gpuagent.protocol.recipe import Recipe

# Sides of what the network reads, and of what its mask is sharpened at, as if it were a square.
READ_SIDE_MAX = 320
REFINE_SIDE = 512
BAND_ROWS = 256
# Growth of peak resident memory while the network runs; torch 2.13 on CPU, fp32: 304 MiB for the
# sizes of the published `u2net` at 320 × 320, 229 for `u2netp`, 40 for the house's at 128 × 128.
# The largest decides; sharpening the mask afterwards takes less.
NETWORK_BYTES = 320 * 1024**2
# Of the picture: opened, its mask, the result, a copy of that while a file is made, and the file.
BYTES_PER_PIXEL = 28


def steps_of(height: int) -> int:
    """How many steps there are: the network, then bands of rows for the mask and for the colors."""
    return 1 + 2 * -(-height // BAND_ROWS)


def estimate_cutout(recipe: Recipe, *, weights_bytes: int) -> Estimate:
    """Memory for one picture where device and host are one memory."""
    held = recipe.width * recipe.height * BYTES_PER_PIXEL
    return Estimate(weights_bytes=weights_bytes, activation_bytes=NETWORK_BYTES + held)


def plan_cutout(
    recipe: Recipe, *, weights_bytes: int, memory_bytes: int, has_own_memory: bool
) -> Plan:
    """There is one way; pictures lie in the host's memory, where that is another."""
    needed = estimate_cutout(recipe, weights_bytes=weights_bytes).total_bytes
    if has_own_memory:
        needed = weights_bytes + NETWORK_BYTES + OVERHEAD_BYTES
    return Plan(
        verdict=Verdict.HERE if needed <= memory_bytes else Verdict.NOWHERE,
        needed_bytes=needed,
        available_bytes=memory_bytes,
    )
