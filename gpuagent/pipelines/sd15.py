"""Stable Diffusion 1.x: one text encoder, and a U-Net that reads what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from gpuagent.pipelines.family import Family
from gpuagent.pipelines.prompts import Embeddings, encode_prompts
from gpuagent.protocol.recipe import Recipe


class StableDiffusion15(Family):
    """A model version of this family."""

    ROWS: ClassVar[tuple[str, ...]] = ("prompt_embeds",)

    @override
    def _load(self, folder: Path) -> Mapping[str, Any]:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        # The classes are named here and never read from the model's own files.
        self._tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        self._text_encoder = self._load_part(CLIPTextModel, folder / "text_encoder")
        self._unet = self._load_part(UNet2DConditionModel, folder / "unet")
        vae = self._load_part(AutoencoderKL, folder / "vae")
        return {"text_encoder": self._text_encoder, "unet": self._unet, "vae": vae}

    @override
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        import torch

        with self._here("text_encoder"), torch.inference_mode():
            words = self._laying.words
            return encode_prompts(self._tokenizer, self._text_encoder, recipe, words)

    @override
    def _pipeline_class(self, mode: str) -> Any:
        import diffusers

        return {
            "txt2img": diffusers.StableDiffusionPipeline,
            "img2img": diffusers.StableDiffusionImg2ImgPipeline,
            "inpaint": diffusers.StableDiffusionInpaintPipeline,
        }[mode]

    @override
    def _components(self, mode: str) -> Mapping[str, Any]:
        del mode
        return {
            "text_encoder": self._text_encoder,
            "tokenizer": self._tokenizer,
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
