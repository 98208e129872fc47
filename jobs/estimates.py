"""What a recipe will cost and need, before it runs, and what runs teach about it. Pure.

Work is counted in *passes*: one evaluation of the denoiser over a megapixel. Guidance and samplers
of second order need two a step. What a pass takes is learned per kind of GPU, model and size; until
enough runs have ended, a prior from the size of the weights stands in.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuagent.planning.cutting import estimate_cutout
from gpuagent.planning.hires import refining_pixels, refining_steps
from gpuagent.planning.mapping import estimate_map
from gpuagent.planning.memory import estimate
from gpuagent.planning.upscaling import estimate_upscale
from gpuagent.protocol.controls import mappers_of
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse
from gpuagent.protocol.taxonomy import SAMPLERS

PIXELS_PER_PASS = 1_000_000
# Encoding the prompt and decoding the picture cost about two steps.
STEPS_BESIDE = 2
# A ControlNet is the first half of a U-Net, which is the smaller one.
CONTROL_SHARE = 0.4
# A reference goes through the U-Net, too, once for both halves of guidance.
REFERENCE_SHARE = 0.6
# An IP-Adapter adds a little to each layer that looks at words.
IP_ADAPTER_SHARE = 0.05
# An upscaler applies its weights at every pixel of the starting picture, a denoiser at one of 64 at
# most. Measured: the small Real-ESRGAN on one core takes 35 s a megapixel, overlaps included.
UPSCALE_PASSES = 370
# What takes a background away reads one small size, then goes over every pixel of the picture.
CUTOUT_PASSES, CUTOUT_PASSES_PER_MEGAPIXEL = 4.0, 3.0
# What makes a map reads one small size, a quarter of a megapixel or up to twice that.
MAP_PASSES = 0.5
# Prior, seconds of a pass per stored byte of weights. CPU: the house model (16 MB) on two cores
# takes 0.04 s a step at 128 × 128 with guidance. GPU: about 1,000 FLOP a byte and megapixel at
# 10 TFLOP/s, which any card of the last years exceeds.
CPU_SECONDS_PER_BYTE = 7.6e-8
GPU_SECONDS_PER_BYTE = 1e-10
# The prior weighs as much as so many runs.
PRIOR_WEIGHT = 2.0
# Each run counts a twentieth less than the one after it: about the last twenty matter.
DECAY = 0.95
# One run cannot pull the mean by more than this factor: a machine that was asleep teaches nothing.
OUTLIER_FACTOR = 4.0
# Weights are stored as fp16 and may be loaded as fp32 (CPU agents).
LOADED_PER_STORED_BYTES = 2
LEAST_SECONDS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """GPU seconds for all pictures of a recipe, and memory in bytes for one at a time."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A running mean; `weight` is how many recent runs stand behind it."""

    mean_seconds: float
    deviation_seconds: float = 0.0
    weight: float = 1.0


def passes_of(recipe: Recipe, *, pictures: int | None = None) -> float:
    """The work of a recipe, or of so many of its pictures."""
    if recipe.is_upscale:
        source = recipe.width * recipe.height / recipe.scale**2
        return UPSCALE_PASSES * (1 if pictures is None else pictures) * source / PIXELS_PER_PASS
    if recipe.cutout:
        return CUTOUT_PASSES + CUTOUT_PASSES_PER_MEGAPIXEL * recipe.width * recipe.height / 1e6
    if recipe.map_kind is not None:
        return MAP_PASSES
    calls = 2 if SAMPLERS[recipe.sampler].is_second_order else 1
    guided: float = 1 + recipe.guidance_end if recipe.guidance_scale > 1 else 1
    steps = recipe.denoising_steps * calls + STEPS_BESIDE
    count = recipe.num_images_per_prompt if pictures is None else pictures
    steered = CONTROL_SHARE * sum(use.end - use.start for use in recipe.controls)
    led = steered + sum(_share_of(use) * (use.end - use.start) for use in recipe.references)
    pixels = steps * recipe.width * recipe.height * (1 + led)
    if recipe.is_hires:
        again = (refining_steps(recipe) * calls + STEPS_BESIDE) * refining_pixels(recipe)
        pixels += again * (1 + steered)
    return pixels * guided * count / PIXELS_PER_PASS + MAP_PASSES * len(mappers_of(recipe.controls))


def _share_of(use: ReferenceUse) -> float:
    return REFERENCE_SHARE if use.model is None else IP_ADAPTER_SHARE


def step_keys(digest: str, recipe: Recipe) -> tuple[str, str]:
    """What a run teaches: of the model at about this size, and of the model at any.

    Small pictures cost more a pixel (calls to the GPU) and very large ones, too (attention).
    """
    return f"{digest}@{(recipe.width * recipe.height).bit_length()}", digest


def prior_seconds(*, weights_bytes: int, gpu_class: str) -> float:
    """Seconds of a pass, before anything was learned."""
    is_gpu = bool(gpu_class) and not gpu_class.lower().startswith("cpu")
    rate = GPU_SECONDS_PER_BYTE if is_gpu else CPU_SECONDS_PER_BYTE
    return max(1, weights_bytes) * rate


def learn(known: Learned | None, seconds: float) -> Learned:
    """The mean after one more run."""
    if known is None or known.mean_seconds <= 0:
        return Learned(mean_seconds=seconds)
    least, most = known.mean_seconds / OUTLIER_FACTOR, known.mean_seconds * OUTLIER_FACTOR
    taken = min(max(seconds, least), most)
    weight = known.weight * DECAY + 1
    away = abs(taken - known.mean_seconds)
    return Learned(
        mean_seconds=known.mean_seconds + (taken - known.mean_seconds) / weight,
        deviation_seconds=known.deviation_seconds + (away - known.deviation_seconds) / weight,
        weight=weight,
    )


def blend(prior: float, learned: Learned | None) -> float:
    """The prior, moved towards what was learned the more the more runs there were."""
    if learned is None:
        return prior
    total = PRIOR_WEIGHT + learned.weight
    return (PRIOR_WEIGHT * prior + learned.weight * learned.mean_seconds) / total


def estimate_cost(
    recipe: Recipe, *, weights_bytes: int, seconds_per_pass: float, picture_pixels: int = 0
) -> Cost:
    """Estimate from the recipe, the stored size of the weights and that of the starting picture."""
    loaded = weights_bytes * LOADED_PER_STORED_BYTES
    if recipe.is_upscale:
        memory = estimate_upscale(recipe, weights_bytes=loaded)
    elif recipe.cutout:
        memory = estimate_cutout(recipe, weights_bytes=loaded)
    elif recipe.map_kind is not None:
        memory = estimate_map(recipe, weights_bytes=loaded, picture_pixels=picture_pixels)
    else:
        memory = estimate(recipe, weights_bytes=loaded, picture_pixels=picture_pixels)
    seconds = max(LEAST_SECONDS, passes_of(recipe) * seconds_per_pass)
    return Cost(seconds=seconds, memory_bytes=memory.total_bytes)
