"""What a recipe will cost and need, before it runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gpuagent.planning.memory import estimate, largest_side
from gpuagent.protocol.recipe import Recipe

# Prior, until finished attempts teach better: one step of a 128 × 128 picture of the house model
# on two CPU cores takes about 0.04 s, and work grows with the pixels.
SECONDS_PER_STEP = 0.04
PIXELS_OF_PRIOR = 128 * 128
# Taking a starting picture into latent space, once for all pictures made from it.
STEPS_OF_PICTURE = 1
# Weights are stored as fp16 and may be loaded as fp32 (CPU agents).
LOADED_PER_STORED_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """GPU seconds for all pictures of a recipe, and memory in bytes for one at a time."""

    seconds: float
    memory_bytes: int


def estimate_cost(recipe: Recipe, *, weights_bytes: int, picture_pixels: int = 0) -> Cost:
    """Estimate from the recipe, the stored size of the weights and that of the starting picture."""
    pixels = recipe.width * recipe.height
    steps = recipe.denoising_steps + 2  # encoding and decoding cost about two steps
    steps = steps * recipe.num_images_per_prompt + (STEPS_OF_PICTURE if recipe.image else 0)
    seconds = SECONDS_PER_STEP * steps * pixels / PIXELS_OF_PRIOR
    memory = estimate(
        recipe,
        weights_bytes=weights_bytes * LOADED_PER_STORED_BYTES,
        picture_pixels=picture_pixels,
    )
    return Cost(seconds=seconds, memory_bytes=memory.total_bytes)


def largest_square(*, available_bytes: int, weights_bytes: int) -> int:
    """The largest square side in pixels that an agent with so much memory can make."""
    return largest_side(
        available_bytes=available_bytes, weights_bytes=weights_bytes * LOADED_PER_STORED_BYTES
    )
