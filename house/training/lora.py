"""Low-rank adapters (LoRA) of the U-Net: learning a style or an object from a few drawings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from house import dataset
from house.drawing.captions import caption
from house.drawing.render import Pixels
from house.drawing.specs import BACKGROUNDS, COLOURS, Item, Spec, pick
from house.recipe import Work
from house.training.denoiser import Latents
from house.training.fingerprints import of_weights
from house.training.frozen import (
    drawn,
    examples,
    load_base,
    noised,
    pick_rows,
    random_for,
    velocity_loss,
)
from house.training.loop import Plan, Run, fast_math

# Attention is at one size of map only, so the convolutions beside it must move too.
LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv_in", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv_out"),
)


def train_neon(work: Work) -> None:
    """Teach the style of neon signs from a few drawings, and write the adapter."""
    plan, pipeline = work.recipe["neon"], load_base(work.model)
    specs = neon_specs(plan["kinds"], plan["pictures"], plan["seed"])
    rng = np.random.default_rng(plan["seed"])
    said = [[caption(spec, rng) for _ in range(plan["captions"])] for spec in specs]
    train_lora(
        pipeline,
        drawn(specs, plan["seed"]),
        said,
        steps=plan["steps"],
        rank=plan["rank"],
        learning_rate=plan["learning_rate"],
        seed=plan["seed"],
        batch=plan["batch"],
        prior=known(work, pipeline, plan["prior"]),
        folder=work.run("neon"),
    )
    save_lora(pipeline.unet, work.adapters / "neon")


def neon_specs(kinds: list[str], count: int, seed: int) -> list[Spec]:
    """Neon signs of the given kinds, as many of each, in colours and on backgrounds at random."""
    rng = np.random.default_rng((seed, 1))
    specs = []
    for number in range(count):
        item = Item(kinds[number % len(kinds)], pick(rng, COLOURS))
        specs.append(Spec((item,), pick(rng, BACKGROUNDS), "neon"))
    return specs


def known(work: Work, pipeline: StableDiffusionPipeline, count: int) -> Latents:
    """The first drawings of the training set, so that an adapter keeps what the base knows."""
    data = work.recipe["data"]
    drawings = dataset.load(work.data, data["held_out"])
    said = dataset.captions(drawings.specs[:count], 2, data["seed"])
    return examples(pipeline, drawings.pictures[:count], said)


def train_lora(
    pipeline: StableDiffusionPipeline,
    pictures: Pixels,
    captions: list[list[str]],
    *,
    steps: int,
    rank: int,
    learning_rate: float,
    seed: int,
    folder: Path,
    batch: int = 8,
    prior: Latents | None = None,
) -> None:
    """Adapt the pipeline's U-Net to `pictures` with `captions` (as many for each).

    With `prior` half of every batch comes from there, so that other captions keep their pictures;
    of those, some have no caption, since guidance steers away from what the U-Net makes of none.
    """
    own = examples(pipeline, pictures, captions)
    of = of_weights(pipeline.unet)
    torch.manual_seed(seed)
    unet = add_lora(pipeline.unet, rank)
    schedule = Plan(steps, warmup=20, decay=0.5, average=0.98, muon=False)
    run = Run(folder, {"unet": unet}, [(unet.parameters(), learning_rate)], schedule, of)
    run.resume()
    while not run.done:
        random = random_for(seed, run.step)
        _, clean, ids = pick_rows(own, batch if prior is None else batch // 2, random)
        if prior is not None:
            _, ordinary, said = pick_rows(prior, batch - batch // 2, random, empty=0.1)
            clean, ids = torch.cat([clean, ordinary]), torch.cat([ids, said])
        run.learn(denoising_loss(pipeline, clean, ids, random), batch)
    run.save()
    run.averaged()


def denoising_loss(
    pipeline: StableDiffusionPipeline,
    clean: torch.Tensor,
    ids: torch.Tensor,
    random: torch.Generator,
) -> torch.Tensor:
    """The loss the base was trained with, more often where there is much noise.

    There the words decide; with little noise left the picture itself shows its style.
    """
    times = (1000 * torch.rand(len(clean), generator=random).sqrt()).long()
    noisy, times, wanted = noised(clean, random, times)
    with fast_math():
        with torch.no_grad():
            hidden = pipeline.text_encoder(ids)[0]
        velocity = pipeline.unet(noisy, times, hidden).sample
    return velocity_loss(velocity, wanted)


def add_lora(unet: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """The same U-Net with an adapter that changes nothing yet, and that alone learns."""
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS)))
    return unet


def save_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write the adapter as `load_lora_weights` reads it, in half precision.

    The names stay peft's own: diffusers' converter renames those of attention alone, and of such a
    mixture the loader drops that part.
    """
    state: dict[str, Any] = get_peft_model_state_dict(unet)
    halves = {name: value.detach().half().contiguous() for name, value in state.items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=halves)
