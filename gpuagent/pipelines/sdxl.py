"""Stable Diffusion XL: two text encoders, and a U-Net that is told of sizes; also its refiner.

Its VAE overflows in float16: it is loaded as `Engine.vae_dtype` says, which is never that.
A refiner is a model of this family without the first text encoder; it starts from a picture.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encoders import read_clips
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.inpaint import Keeping
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.samplers import Foreseer
from gpuagent.pipelines.steps import Share, StepCallback, Watch
from gpuagent.pipelines.variations import mixed_noise
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
        start: StartingPicture | None = None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Make the rest of the steps of a picture that another model of this family began.

        Under a mask, what it does not cover stays the starting picture to the end.

        Raises:
            AttemptFailedError: it is a model for inpainting, which wants to be told more.
            Exception: whatever `watch.check` raises, within one step.
        """
        import torch

        if self._is_for_inpainting:
            raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="for inpainting")
        # What was drawn for the first steps must not be drawn again: a seed has 32 bits.
        generator = torch.Generator("cpu").manual_seed(recipe.seed_of(index) + (1 << 32))
        scheduler = self._make_scheduler(recipe.sampler, generator)
        made_step = StepCallback(
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
            callback: StepCallback | Keeping = made_step
            if start is not None and start.mask is not None:
                kept, noise = self._begun_with(pipeline, recipe, index, start)
                callback = Keeping(
                    kept=kept,
                    noise=noise,
                    mask=start.mask,
                    calls_of=made_step.calls_of,
                    then=made_step,
                )
                # A pipeline that ends early leaves what it keeps without noise.
                scheduler.set_timesteps(recipe.num_inference_steps, device=latents.device)
                timesteps, _ = pipeline.get_timesteps(
                    recipe.num_inference_steps, 1.0, latents.device, recipe.handover
                )
                latents = callback.over(latents, pipeline, len(timesteps))
            refined: torch.Tensor = pipeline(
                **self._prompt_arguments(embeddings),
                image=latents.to(self._denoiser.dtype),
                denoising_start=recipe.handover,
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                generator=generator,
                output_type="latent",
                callback_on_step_end=callback,
            ).images
        return refined

    def _begun_with(
        self,
        pipeline: Any,  # noqa: ANN401 - diffusers has no types
        recipe: Recipe,
        index: int,
        start: StartingPicture,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and noise that a picture began with under a mask, drawn once more."""
        import torch

        generator = torch.Generator("cpu").manual_seed(recipe.seed_of(index))
        kept = self._scaled(start.posterior.sample(generator)).to(self._denoiser.dtype)
        module = sys.modules[type(pipeline).__module__]
        with mixed_noise(pipeline, recipe, index):
            noise = module.randn_tensor(  # what the pipelines draw with, mixed like theirs
                kept.shape, generator=generator, device=kept.device, dtype=kept.dtype
            )
        return kept, noise

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
