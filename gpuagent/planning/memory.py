"""Will this picture fit? Estimates in bytes, from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from gpuagent.planning.footprints import ACTIVATIONS_PER_PIXEL
from gpuagent.planning.hires import drawn_size, held_for_result
from gpuagent.protocol.controls import mappers_of
from gpuagent.protocol.recipe import Recipe

BYTES_PER_ACTIVATION = 4
OVERHEAD_BYTES = 256 * 1024**2
# A starting picture is opened at its own size, in the host's memory: with and without
# transparency, and what is made of it. It is let go before the model runs, unless only its masked
# area is worked on: then it, its mask and the result stay until the end.
OPENED_BYTES_PER_PIXEL = 16
HELD_BYTES_PER_PIXEL = 12
# Growth of peak memory while a network makes a map, and what share of its weights comes on top;
# torch 2.13 on CPU, fp32: 424 MiB for the small Depth Anything (95 MiB) and 1,120 for the large one
# (1,279 MiB), both at 1036 × 518, the longest they read; 336 for DPT large (423 MiB) at 384 × 384.
MAPPING_BYTES, MAPPING_SHARE = 384 * 1024**2, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What making one picture needs beside what is resident already."""

    weights_bytes: int
    activation_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.activation_bytes + OVERHEAD_BYTES


def estimate(recipe: Recipe, *, weights_bytes: int, picture_pixels: int = 0) -> Estimate:
    """Memory for one picture at batch 1; `weights_bytes` as loaded (after dtype conversion).

    `picture_pixels` are those of the largest picture given. Taking it and a mask into latent space
    needs no more than decoding does: the encoder is the smaller half.
    """
    width, height = drawn_size(recipe)
    activations = width * height * ACTIVATIONS_PER_PIXEL * BYTES_PER_ACTIVATION
    activations += held_bytes(recipe, picture_pixels)
    opened = opened_bytes(recipe, picture_pixels)
    if mappers_of(recipe.controls):
        opened += mapping_bytes(0)  # of its weights more is known where they lie
    return Estimate(weights_bytes=weights_bytes, activation_bytes=max(activations, opened))


def opened_bytes(recipe: Recipe, picture_pixels: int) -> int:
    """While a picture of so many pixels is opened, before the model runs; they are one by one."""
    return picture_pixels * OPENED_BYTES_PER_PIXEL if recipe.inputs else 0


def mapping_bytes(weights_bytes: int) -> int:
    """While a network with such weights makes a map."""
    return MAPPING_BYTES + int(weights_bytes * MAPPING_SHARE)


def held_bytes(recipe: Recipe, picture_pixels: int) -> int:
    """What stays of it while the model runs, and what a larger result takes."""
    held = picture_pixels * HELD_BYTES_PER_PIXEL if recipe.is_masked_area else 0
    return held + held_for_result(recipe)
