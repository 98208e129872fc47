"""Starting pictures and masks in latent space: what a pipeline is given beside the prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuagent.pipelines.preview import Floats

# Latents, mask and the latents of what is kept: a U-Net that was trained for inpainting.
INPAINTING_CHANNELS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMask:
    """How far each latent may change (1, 1, h, w), and the latents of what is kept.

    A latent stands for a patch of pixels and may change as far as any of them.
    """

    values: Any
    kept: Any = None

    def at(self, done: float) -> Any:  # noqa: ANN401 - a tensor, and torch is not imported here
        """What may change when `done` of the way (0 to 1) is behind: 0 or 1 for each latent.

        A latent that may change by half joins in after half of the steps; until then it follows
        the starting picture. So a soft edge is soft in what is drawn there, not only in paint.
        """
        return (self.values >= 1 - done).logical_and(self.values > 0).to(self.values.dtype)


@dataclass(frozen=True, slots=True)
class Known:
    """In the place of what an encoder thinks likely: latents that are known."""

    latents: Any

    def sample(self, generator: object = None) -> Any:  # noqa: ANN401 - a tensor
        """They themselves: nothing is drawn."""
        del generator
        return self.latents

    def mode(self) -> Any:  # noqa: ANN401 - a tensor
        """The same."""
        return self.latents


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPicture:
    """A picture taken into latent space: each picture made from it samples this once.

    With a mask, only what it covers is made anew.
    """

    posterior: Any
    mask: LatentMask | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What diffusers' pipelines for inpainting do after each step, for those that are for other
    things: what the mask does not cover yet is the starting picture again, noised as far.

    `calls_of(pipeline)` is how many calls the whole picture takes; this pipeline makes the last.
    """

    kept: Any
    noise: Any
    mask: LatentMask
    calls_of: Callable[[Any], int]
    then: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]

    def __call__(
        self,
        pipeline: Any,  # noqa: ANN401 - no types
        number: int,
        timestep: Any,  # noqa: ANN401 - as above
        tensors: dict[str, Any],
    ) -> dict[str, Any]:
        left = pipeline.num_timesteps - number - 1
        latents = self.over(tensors["latents"], pipeline, left)
        return {**self.then(pipeline, number, timestep, {"latents": latents}), "latents": latents}

    def over(self, latents: Any, pipeline: Any, left: int) -> Any:  # noqa: ANN401 - as above
        """Latents with what is kept over them, when so many calls are left."""
        calls, kept = self.calls_of(pipeline), self.kept
        if left:
            following = pipeline.scheduler.timesteps[-left:][:1]
            kept = pipeline.scheduler.add_noise(kept, self.noise, following)
        mask = self.mask.at((calls - left) / calls)
        return (1 - mask) * kept + mask * latents


def latent_values(mask: Floats, scale: int) -> Floats:
    """The largest value of each patch of `scale` × `scale` pixels."""
    height, width = mask.shape[0] // scale, mask.shape[1] // scale
    patches = mask[: height * scale, : width * scale].reshape(height, scale, width, scale)
    return np.asarray(patches.max(axis=(1, 3)), dtype=np.float32)


def mask_pixels(latent_mask: Any, scale: int) -> Any:  # noqa: ANN401 - tensors
    """A mask of latents as pixels, from which the pipeline takes back just these latents."""
    return latent_mask.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
