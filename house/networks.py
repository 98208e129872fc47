"""The parts of the house model, all of them stock classes of diffusers and transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
# Words as CLIP's tokenizer splits them: letters, single digits, runs of anything else.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def build_tokenizer(folder: Path, corpus: Iterable[str], merges: int) -> CLIPTokenizer:
    """A CLIP tokenizer learnt on `corpus`: all bytes, all bytes that end a word, `merges` pairs.

    Any text encodes; words of the captions are one token each, or few.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + merges,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=2,
    )
    learner.train_from_iterator(corpus, trainer)
    pairs = json.loads(learner.to_str())["model"]["merges"]
    learnt = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    tokens = [*alphabet, *(byte + "</w>" for byte in alphabet)]
    tokens += [*(pair.replace(" ", "") for pair in learnt), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(learnt) + "\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=77, **special)
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_text_encoder(
    tokenizer: CLIPTokenizer, *, width: int, layers: int, heads: int
) -> CLIPTextModel:
    """CLIP's text model, small, with weights at random."""
    end = tokenizer.eos_token_id
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModel(config)


def build_unet(widths: list[int], heads: list[int], text_width: int) -> UNet2DConditionModel:
    """The denoiser over latents of 16 × 16.

    Words come in by attention at 8 × 8 and, pooled, with the time.

    The pooling is the U-Net's own (`addition_embed_type="text"`), so stock pipelines work
    unchanged. Without it a model this small took ten times the pictures to heed any word but the
    background's.
    """
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=tuple(heads),  # diffusers' name for the number of heads
        norm_num_groups=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
    torch.nn.init.constant_(unet.add_embedding.norm2.weight, 0.3)
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return unet


def noise_schedule() -> DDPMScheduler:
    """The noise that training adds."""
    return DDPMScheduler(**NOISE)


def build_pipeline(
    unet: UNet2DConditionModel, text: CLIPTextModel, tokenizer: CLIPTokenizer, vae: AutoencoderKL
) -> StableDiffusionPipeline:
    """Everything together, with the sampler the model is best with."""
    sampler = DPMSolverMultistepScheduler(
        **NOISE,
        use_karras_sigmas=True,
        algorithm_type="dpmsolver++",
        solver_order=2,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=sampler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
