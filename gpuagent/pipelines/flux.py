"""Flux: CLIP for the whole of a prompt, T5 for its words; a transformer over packed latents.

*dev* is told the guidance as a number and *schnell* was made to need none, so neither reads a
negative prompt: each step is one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gpuagent.pipelines.encoders import pool_clip, read_t5
from gpuagent.pipelines.flow import FlowFamily
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.protocol.recipe import Recipe

if TYPE_CHECKING:
    import torch

# schnell was trained with fewer.
T5_TOKENS, T5_TOKENS_OF_SCHNELL = 512, 256
_NATIVE_LATENTS = 128  # as the pipelines have it; the transformer's config names none


class Flux(FlowFamily):
    """A model version of this family."""

    @override
    def _load(self, folder: Path) -> Mapping[str, Any]:
        from diffusers import AutoencoderKL, FluxTransformer2DModel
        from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

        self._tokenizers = {
            name: loader.from_pretrained(folder / name, local_files_only=True)
            for name, loader in (("tokenizer", CLIPTokenizer), ("tokenizer_2", T5TokenizerFast))
        }
        encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
        self._encoders = {
            name: self._load_part(loader, folder / name) for name, loader in encoders.items()
        }
        transformer = self._load_part(FluxTransformer2DModel, folder / "transformer")
        vae = self._load_part(AutoencoderKL, folder / "vae")
        return {**self._encoders, "transformer": transformer, "vae": vae}

    @property
    @override
    def native_side(self) -> int:
        return _NATIVE_LATENTS * self._scale

    @override
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        import torch

        is_dev = bool(self._denoiser.config.guidance_embeds)
        length = T5_TOKENS if is_dev else T5_TOKENS_OF_SCHNELL
        with self._here(*self._encoders), torch.inference_mode():
            clip = (self._tokenizers["tokenizer"], self._encoders["text_encoder"])
            t5 = (self._tokenizers["tokenizer_2"], self._encoders["text_encoder_2"])
            (prompt,) = read_t5(*t5, (recipe.prompt,), length=length)
            pooled = pool_clip(clip, recipe.prompt)
        return Embeddings(prompt=prompt, negative=prompt, pooled=pooled)

    @override
    def _prompt_arguments(self, embeddings: Embeddings) -> dict[str, object]:
        return {"prompt_embeds": embeddings.prompt, "pooled_prompt_embeds": embeddings.pooled}

    @override
    def _unpacked(self, latents: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        """A token is a patch of 2 × 2 latents, channel by channel."""
        high, wide = recipe.height // self._scale // 2, recipe.width // self._scale // 2
        patches = latents.view(latents.shape[0], high, wide, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(latents.shape[0], -1, high * 2, wide * 2)

    @override
    def _packed_mask(self, mask: torch.Tensor, pipeline: Any) -> torch.Tensor:
        channels = int(self._vae.config.latent_channels)
        packed: torch.Tensor = pipeline._pack_latents(
            mask.repeat(1, channels, 1, 1), mask.shape[0], channels, *mask.shape[-2:]
        )
        return packed

    @override
    def _pipeline_class(self, mode: str) -> Any:
        import diffusers

        return {
            "txt2img": diffusers.FluxPipeline,
            "img2img": diffusers.FluxImg2ImgPipeline,
            "inpaint": diffusers.FluxInpaintPipeline,
        }[mode]

    @override
    def _components(self, mode: str) -> Mapping[str, Any]:
        del mode
        return {**self._encoders, **self._tokenizers}
