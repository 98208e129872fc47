"""Which pictures can be made together in one batch, though their jobs have nothing else in common.

Pure. Both sides ask it: the web side to give an agent what goes together, the agent to do it.
"""

from __future__ import annotations

from dataclasses import replace

from gpuagent.protocol.recipe import Recipe


def batch_key(recipe: Recipe) -> str:
    """What pictures of a batch have in common; empty if this one is made alone.

    They may differ in prompts, seed and clip skip. A recipe with anything that is not named here is
    made alone, so that a new setting never changes a neighbour's picture; so is a job of several
    pictures: each of those is to be the same when it is made again.
    """
    shared = Recipe(
        model=recipe.model,
        prompt="",
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        width=recipe.width,
        height=recipe.height,
        sampler=recipe.sampler,
        loras=recipe.loras,
        embeddings=recipe.embeddings,
    )
    own = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "seed": recipe.seed,
        "clip_skip": recipe.clip_skip,
    }
    is_plain = replace(shared, **own) == recipe  # type: ignore[arg-type]  # each of its field's type
    return shared.digest() if is_plain else ""
