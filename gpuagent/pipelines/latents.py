"""What a model that draws does with its VAE: pictures into latent space, and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.inpaint import (
    INPAINTING_CHANNELS,
    Known,
    LatentMask,
    StartingPicture,
    latent_values,
    mask_pixels,
)
from gpuagent.pipelines.loaded import VAE, LoadedModel
from gpuagent.pipelines.preview import Floats
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.protocol.failures import FailureCode

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What two VAEs must have alike, or the latents of one mean nothing to the other.
_SAME_LATENTS = ("latent_channels", "scaling_factor", "shift_factor")


class LatentSpace(LoadedModel):
    """A model with a VAE and a denoiser that works on what the VAE makes of pictures."""

    _engine: Engine
    _denoiser: Any
    _vae: Any

    @property
    def _scale(self) -> int:
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @property
    def _is_for_inpainting(self) -> bool:
        """Whether the denoiser wants to be told what is kept. Without a mask, that is nothing."""
        return int(self._denoiser.config.in_channels) == INPAINTING_CHANNELS

    def look_at(self, picture: Image.Image) -> torch.Tensor:
        """A reference picture as the denoiser knows it."""
        return self._scaled(self.take_in(picture).posterior.mode()).to(self._denoiser.dtype)

    def take_in(self, picture: Image.Image, mask: Floats | None = None) -> StartingPicture:
        """Take a starting picture (and a mask, 0 to 1) of the right size into latent space."""
        import torch
        from diffusers.image_processor import VaeImageProcessor

        tensor = VaeImageProcessor(vae_scale_factor=self._scale).preprocess(picture)
        with self._here(VAE), torch.inference_mode():
            tensor = tensor.to(device=self._engine.device, dtype=self._vae.dtype)
            posterior = self._vae.encode(tensor).latent_dist
            if mask is None and not self._is_for_inpainting:
                return StartingPicture(posterior=posterior)
            if mask is None:
                mask = np.ones((picture.height, picture.width), dtype=np.float32)
            return StartingPicture(posterior=posterior, mask=self._take_in_mask(tensor, mask))

    def _take_in_mask(self, picture: torch.Tensor, mask: Floats) -> LatentMask:
        import torch

        values = torch.from_numpy(latent_values(mask, self._scale))[None, None]
        values = values.to(device=self._engine.device, dtype=self._denoiser.dtype)
        if not self._is_for_inpainting:
            return LatentMask(values=values)
        changing = mask_pixels((values > 0).to(picture.dtype), self._scale)
        kept = self._vae.encode(picture * (1 - changing)).latent_dist.mode()
        return LatentMask(values=values, kept=self._scaled(kept))

    def known(self, latents: torch.Tensor) -> StartingPicture:
        """A starting picture of these latents, as `denoise` gives them."""
        latents = latents / self._vae.config.scaling_factor
        if (shift := self._vae.config.get("shift_factor")) is not None:
            latents = latents + shift
        return StartingPicture(posterior=Known(latents))

    def decode(self, latents: torch.Tensor) -> Pixels:
        """Latents of one picture to pixels (height, width, 3)."""
        import torch

        with self._here(VAE), torch.inference_mode():
            scaled = latents.to(self._vae.dtype) / self._vae.config.scaling_factor
            if (shift := self._vae.config.get("shift_factor")) is not None:
                scaled = scaled + shift
            image = self._vae.decode(scaled, return_dict=False)[0]
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
