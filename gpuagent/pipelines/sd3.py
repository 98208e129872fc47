"""Stable Diffusion 3: two CLIP encoders and T5, which may be left out; a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gpuagent.pipelines.encoders import read_clips, read_t5
from gpuagent.pipelines.flow import FlowFamily
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.protocol.recipe import Recipe

if TYPE_CHECKING:
    import torch

T5_TOKENS = 256
_CLIPS = ("", "_2")


class StableDiffusion3(FlowFamily):
    """A model version of this family."""

    ROWS: ClassVar[tuple[str, ...]] = ("prompt_embeds", "pooled_prompt_embeds")

    @override
    def _load(self, folder: Path) -> Mapping[str, Any]:
        from diffusers import AutoencoderKL, SD3Transformer2DModel
        from transformers import (
            CLIPTextModelWithProjection,
            CLIPTokenizer,
            T5EncoderModel,
            T5TokenizerFast,
        )

        self._encoders: dict[str, Any] = {}
        self._tokenizers: dict[str, Any] = {}
        for suffix in (*_CLIPS, "_3"):
            if not (folder / f"text_encoder{suffix}").is_dir() and suffix not in _CLIPS:
                continue  # published without T5, to be smaller
            is_clip = suffix in _CLIPS
            self._encoders[f"text_encoder{suffix}"] = self._load_part(
                CLIPTextModelWithProjection if is_clip else T5EncoderModel,
                folder / f"text_encoder{suffix}",
            )
            self._tokenizers[f"tokenizer{suffix}"] = (
                CLIPTokenizer if is_clip else T5TokenizerFast
            ).from_pretrained(folder / f"tokenizer{suffix}", local_files_only=True)
        transformer = self._load_part(SD3Transformer2DModel, folder / "transformer")
        vae = self._load_part(AutoencoderKL, folder / "vae")
        return {**self._encoders, "transformer": transformer, "vae": vae}

    @override
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        import torch

        texts = (recipe.prompt, recipe.negative_prompt)
        clips = [
            (self._tokenizers[f"tokenizer{suffix}"], self._encoders[f"text_encoder{suffix}"])
            for suffix in _CLIPS
        ]
        with self._here(*self._encoders), torch.inference_mode():
            words = self._laying.words
            read = read_clips(clips, texts, words, clip_skip=recipe.clip_skip)
            told = self._read_t5(texts, like=read[0][0])
        (prompt, pooled), (negative, negative_pooled) = read
        return Embeddings(
            prompt=_beside(prompt, told[0]),
            negative=_beside(negative, told[1]),
            pooled=pooled,
            negative_pooled=negative_pooled,
        )

    def _read_t5(self, texts: tuple[str, ...], *, like: torch.Tensor) -> list[torch.Tensor]:
        """What T5 says; without it, nothing at as many places."""
        import torch

        if "text_encoder_3" not in self._encoders:
            width = int(self._denoiser.config.joint_attention_dim)
            nothing = torch.zeros((1, T5_TOKENS, width), device=like.device, dtype=like.dtype)
            return [nothing for _text in texts]
        tokenizer, encoder = self._tokenizers["tokenizer_3"], self._encoders["text_encoder_3"]
        return read_t5(tokenizer, encoder, texts, length=T5_TOKENS)

    @override
    def _prompt_arguments(self, embeddings: Embeddings) -> dict[str, object]:
        return {
            **super()._prompt_arguments(embeddings),
            "pooled_prompt_embeds": embeddings.pooled,
            "negative_pooled_prompt_embeds": embeddings.negative_pooled,
        }

    @override
    def _pipeline_class(self, mode: str) -> Any:
        import diffusers

        return {
            "txt2img": diffusers.StableDiffusion3Pipeline,
            "img2img": diffusers.StableDiffusion3Img2ImgPipeline,
            "inpaint": diffusers.StableDiffusion3InpaintPipeline,
        }[mode]

    @override
    def _components(self, mode: str) -> Mapping[str, Any]:
        del mode
        absent = {"text_encoder_3": None, "tokenizer_3": None}
        return {**absent, **self._encoders, **self._tokenizers}


def _beside(clip: torch.Tensor, t5: torch.Tensor) -> torch.Tensor:
    """CLIP's tokens, made as wide as T5's, and T5's after them."""
    import torch

    filled = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
    return torch.cat([filled, t5], dim=-2)
