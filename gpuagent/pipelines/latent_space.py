"""What a model's VAE does: pictures to latents and back, by its own or by another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.inpaint import Known, StartingPicture
from gpuagent.pipelines.loaded import VAE, LoadedModel
from gpuagent.pipelines.preview import Floats
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.protocol.failures import FailureCode

if TYPE_CHECKING:
    import torch

# What two VAEs must have alike, or the latents of one mean nothing to the other.
_SAME_LATENTS = ("latent_channels", "scaling_factor", "shift_factor")


class LatentSpace(LoadedModel):
    """A model with a VAE among its parts."""

    _engine: Engine
    _vae: Any

    @property
    def _scale(self) -> int:
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    def known(self, latents: torch.Tensor) -> StartingPicture:
        """A starting picture of these latents, as a denoiser gives them."""
        return StartingPicture(posterior=Known(self._unscaled(latents)))

    def decode(self, latents: torch.Tensor) -> Pixels:
        """Latents of one picture to pixels (height, width, 3)."""
        import torch

        with self._here(VAE), torch.inference_mode():
            unscaled = self._unscaled(latents.to(self._vae.dtype))
            image = self._vae.decode(unscaled, return_dict=False)[0]
            image = (image * 0.5 + 0.5).clamp(0, 1)
            array: Floats = image[0].permute(1, 2, 0).float().cpu().numpy()
        return (array * 255).round().astype(np.uint8)

    @contextmanager
    def decoding_by(self, vae: Autoencoder | None) -> Iterator[None]:
        """Another VAE takes the place of the model's while this lasts.

        Raises:
            AttemptFailedError: its latents are others.
        """
        if vae is None:
            yield
            return
        for name in _SAME_LATENTS:
            if self._vae.config.get(name) != vae.module.config.get(name):
                raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason=name)
        own, placed = self._vae, self._parts[VAE]
        self._vae, self._parts[VAE] = vae.module, vae.placed
        try:
            yield
        finally:
            self._vae, self._parts[VAE] = own, placed

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        """What the VAE gives, as the denoiser knows it."""
        if (shift := self._vae.config.get("shift_factor")) is not None:
            latents = latents - shift
        scaled: torch.Tensor = latents * self._vae.config.scaling_factor
        return scaled

    def _unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        """The reverse."""
        unscaled: torch.Tensor = latents / self._vae.config.scaling_factor
        if (shift := self._vae.config.get("shift_factor")) is not None:
            unscaled = unscaled + shift
        return unscaled

    def _to_latents(self, colors: Floats) -> Floats:
        import torch

        latents = []
        with self._here(VAE), torch.inference_mode():
            for picture in colors:
                tensor = torch.from_numpy(picture[None] * 2 - 1)
                tensor = tensor.to(device=self._engine.device, dtype=self._vae.dtype)
                encoded = self._scaled(self._vae.encode(tensor).latent_dist.mode())
                latents.append(encoded.float().cpu().numpy())
        return np.concatenate(latents)

    def _to_colors(self, latents: Floats) -> Floats:
        import torch

        pictures = [
            self.decode(torch.from_numpy(latent[None]).to(self._engine.device))
            for latent in latents
        ]
        return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
