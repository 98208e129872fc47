"""Stable Diffusion XL: two text encoders, and a U-Net that is told of sizes; also its refiner.

Its VAE overflows in float16: it is loaded as `Engine.vae_dtype` says, which is never that.
A refiner is a model of this family without the first text encoder; it starts from a picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encoders import read_clips
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.samplers import Foreseer
from gpuagent.pipelines.steps import Share, StepCallback, Watch
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe

if TYPE_CHECKING:
    import torch


class StableDiffusionXL(Family):
    """A model version of this family."""

    ROWS: ClassVar[tuple[str, ...]] = ("prompt_embeds", "add_text_embeds", "add_time_ids")

    @override
    def _load(self, folder: Path) -> Mapping[str, Any]:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        said = json.loads((folder / "model_index.json").read_text())
        self._zeroes_nothing = bool(said.get("force_zeros_for_empty_prompt", True))
        self._is_refiner = bool(said.get("requires_aesthetics_score", False))
        parts: dict[str, Any] = {}
        self._tokenizers: dict[str, Any] = {}
        for suffix, loader in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
            if suffix or (folder / "text_encoder").is_dir():
                parts[f"text_encoder{suffix}"] = self._load_part(
                    loader, folder / f"text_encoder{suffix}"
                )
                self._tokenizers[f"tokenizer{suffix}"] = CLIPTokenizer.from_pretrained(
                    folder / f"tokenizer{suffix}", local_files_only=True
                )
        self._encoders = dict(parts)
        parts["unet"] = self._load_part(UNet2DConditionModel, folder / "unet")
        parts["vae"] = self._load_part(AutoencoderKL, folder / "vae")
        return parts

    @override
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        import torch

        clips = list(zip(self._tokenizers.values(), self._encoders.values(), strict=True))
        texts = (recipe.prompt, recipe.negative_prompt)
        with self._here(*self._encoders), torch.inference_mode():
            words = self._laying.words
            (prompt, pooled), (negative, negative_pooled) = read_clips(
                clips, texts, words, clip_skip=recipe.clip_skip
            )
        if self._zeroes_nothing and not recipe.negative_prompt.strip():
            negative = torch.zeros_like(negative)
            negative_pooled = torch.zeros_like(negative_pooled)
        return Embeddings(
            prompt=prompt, negative=negative, pooled=pooled, negative_pooled=negative_pooled
        )

    @override
    def _prompt_arguments(self, embeddings: Embeddings) -> dict[str, object]:
        return {
            **super()._prompt_arguments(embeddings),
            "pooled_prompt_embeds": embeddings.pooled,
            "negative_pooled_prompt_embeds": embeddings.negative_pooled,
        }

    @property
    @override
    def can_batch(self) -> bool:
        return super().can_batch and not self._is_refiner

    @override
    def _share_arguments(self, until: float | None) -> dict[str, object]:
        return {} if until is None else {"denoising_end": until}

    def refine(
        self,
        recipe: Recipe,
        index: int,
        embeddings: Embeddings,
        latents: torch.Tensor,
        *,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Make the rest of the steps of a picture that another model of this family began.

        Raises:
            Exception: whatever `watch.check` raises, within one step.
        """
        import torch

        # What was drawn for the first steps must not be drawn again: a seed has 32 bits.
        generator = torch.Generator("cpu").manual_seed(recipe.seed_of(index) + (1 << 32))
        scheduler = self._make_scheduler(recipe.sampler, generator)
        callback = StepCallback(
            recipe,
            Foreseer(scheduler),
            watch or Watch(),
            None,
            unpack=lambda latents: self._unpacked(latents, recipe),
            pack_mask=self._packed_mask,
            share=Share.REST,
        )
        with self._here(self.DENOISER), torch.inference_mode():
            pipeline = self._pipeline("img2img", scheduler)
            self._steering.begin(pipeline)
            refined: torch.Tensor = pipeline(
                **self._prompt_arguments(embeddings),
                image=latents.to(self._denoiser.dtype),
                denoising_start=recipe.refiner_start,
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                generator=generator,
                output_type="latent",
                callback_on_step_end=callback,
            ).images
        return refined

    @override
    def _pipeline_class(self, mode: str) -> Any:
        import diffusers

        if self._is_refiner and mode == "txt2img":
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="a refiner needs a picture")
        return {
            "txt2img": diffusers.StableDiffusionXLPipeline,
            "img2img": diffusers.StableDiffusionXLImg2ImgPipeline,
            "inpaint": diffusers.StableDiffusionXLInpaintPipeline,
        }[mode]

    @override
    def _components(self, mode: str) -> Mapping[str, Any]:
        aesthetics = {} if mode == "txt2img" else {"requires_aesthetics_score": self._is_refiner}
        return {
            "text_encoder": None,
            "tokenizer": None,
            **self._encoders,
            **self._tokenizers,
            "force_zeros_for_empty_prompt": self._zeroes_nothing,
            "add_watermarker": False,
            **aesthetics,
        }
