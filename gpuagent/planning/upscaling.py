"""Will this enlargement fit? It is done in tiles of one size, so only the result itself grows."""

from __future__ import annotations

from gpuagent.planning.memory import OVERHEAD_BYTES, Estimate
from gpuagent.planning.plan import Plan, Verdict
from gpuagent.protocol.recipe import Recipe

# Tiles are cut from the starting picture with some pixels of it around them: as far as a small
# network sees, and so many where it sees further (RRDBNet ×4: on average 0.4 of 255 away from what
# the whole would be, 0.8 with 8 pixels).
TILE_SIDE = 128
OVERLAP = 24
# Growth of peak resident memory while one tile is worked on; torch 2.13 on CPU, fp32: 40 MiB for
# the compact network, 120 MiB for RRDBNet.
TILE_BYTES = 160 * 1024**2
# Of the result: its pixels, a copy of them while a file is made of it, and the file.
RESULT_BYTES_PER_PIXEL = 12
# Of the starting picture: opened with and without transparency, and cut up.
OPENED_BYTES_PER_PIXEL = 16


def estimate_upscale(recipe: Recipe, *, weights_bytes: int) -> Estimate:
    """Memory for enlarging one picture where device and host are one memory."""
    pixels = recipe.width * recipe.height
    source = -(-pixels // recipe.scale**2)
    held = pixels * RESULT_BYTES_PER_PIXEL + source * OPENED_BYTES_PER_PIXEL
    return Estimate(weights_bytes=weights_bytes, activation_bytes=TILE_BYTES + held)


def plan_upscale(
    recipe: Recipe, *, weights_bytes: int, memory_bytes: int, has_own_memory: bool
) -> Plan:
    """There is one way; pictures lie in the host's memory, where that is another."""
    needed = estimate_upscale(recipe, weights_bytes=weights_bytes).total_bytes
    if has_own_memory:
        needed = weights_bytes + TILE_BYTES + OVERHEAD_BYTES
    return Plan(
        verdict=Verdict.HERE if needed <= memory_bytes else Verdict.NOWHERE,
        needed_bytes=needed,
        available_bytes=memory_bytes,
    )
