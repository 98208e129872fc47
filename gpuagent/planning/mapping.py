"""Will making a map fit? The network reads one small size; the result grows."""

from __future__ import annotations

from gpuagent.planning.memory import OVERHEAD_BYTES, Estimate, mapping_bytes
from gpuagent.planning.plan import Plan, Verdict
from gpuagent.protocol.recipe import Recipe

# Of the result: what the network found at that size, drawn, and as a file.
BYTES_PER_PIXEL = 28


def estimate_map(recipe: Recipe, *, weights_bytes: int, picture_pixels: int = 0) -> Estimate:
    """Memory for one map where device and host are one memory."""
    held = recipe.width * recipe.height * BYTES_PER_PIXEL + picture_pixels * BYTES_PER_PIXEL // 2
    return Estimate(
        weights_bytes=weights_bytes, activation_bytes=mapping_bytes(weights_bytes) + held
    )


def plan_map(
    recipe: Recipe, *, weights_bytes: int, memory_bytes: int, has_own_memory: bool
) -> Plan:
    """There is one way; pictures lie in the host's memory, where that is another."""
    needed = estimate_map(recipe, weights_bytes=weights_bytes).total_bytes
    if has_own_memory:
        needed = weights_bytes + mapping_bytes(weights_bytes) + OVERHEAD_BYTES
    return Plan(
        verdict=Verdict.HERE if needed <= memory_bytes else Verdict.NOWHERE,
        needed_bytes=needed,
        available_bytes=memory_bytes,
    )
