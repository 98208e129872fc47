"""The trained base model, frozen, and the batches from which its adapters learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline

from house.drawing.render import Pixels, draw
from house.drawing.specs import Spec
from house.networks import noise_schedule
from house.recipe import MODEL
from house.training.denoiser import Latents, draw_times, encode
from house.training.text import tokens


def load_base(folder: Path = MODEL) -> StableDiffusionPipeline:
    """The base model in full precision; nothing of it learns."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    freeze(pipeline)
    return pipeline


def freeze(pipeline: StableDiffusionPipeline) -> None:
    """From here on only what is added to the pipeline learns."""
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        part.requires_grad_(False).eval()
    pipeline.unet.to(memory_format=torch.channels_last)


def drawn(specs: list[Spec], seed: int) -> Pixels:
    """The drawings of `specs`, each from its own random stream."""
    return np.stack([draw(spec, np.random.default_rng((seed, i))) for i, spec in enumerate(specs)])


def examples(
    pipeline: StableDiffusionPipeline, pictures: Pixels, captions: list[list[str]]
) -> Latents:
    """A few pictures to learn from, each with as many captions as the others."""
    tokenizer = pipeline.tokenizer
    ids = torch.stack([tokens(tokenizer, row) for row in captions])
    return Latents(encode(pipeline.vae, pictures).float(), ids, tokens(tokenizer, [""])[0])


def random_for(seed: int, step: int) -> torch.Generator:
    """The random stream of one step, the same wherever a run was taken up again."""
    return torch.Generator().manual_seed(1_000_003 * step + seed)


def pick_rows(
    latents: Latents, count: int, random: torch.Generator, empty: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row numbers `[n]`, clean latents and a caption's tokens; a share `empty` has no caption."""
    rows = torch.randint(len(latents.values), (count,), generator=random)
    ids = latents.ids[rows, torch.randint(latents.ids.shape[1], (count,), generator=random)].long()
    ids[torch.rand(count, generator=random) < empty] = latents.empty.long()
    return rows, latents.values[rows].float(), ids


def noised(
    clean: torch.Tensor, random: torch.Generator, times: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The latents with noise, the times that say how much, and the velocity to learn.

    Unless they are given, the times are drawn as for the base.
    """
    times = draw_times(len(clean), random) if times is None else times
    noise = torch.randn(clean.shape, generator=random)
    schedule = noise_schedule()
    noisy = schedule.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
    return noisy, times, schedule.get_velocity(clean, noise, times)


def velocity_loss(velocity: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the U-Net's answer is from the true velocity."""
    return F.mse_loss(velocity.float(), wanted)
