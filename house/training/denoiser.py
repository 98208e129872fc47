"""Trains the denoiser (U-Net) over latents made beforehand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from house import dataset
from house.drawing.render import Pixels
from house.evaluation import as_input
from house.networks import build_pipeline, build_unet, noise_schedule
from house.recipe import Work
from house.training import fingerprints
from house.training.loop import Plan, Run, fast_math
from house.training.text import tokens

SAMPLE_EVERY = 1_000
SAMPLE_PROMPTS = (
    "photo of a red mug on a wooden table",
    "photo of a blue car on a beach",
    "a green apple on a white background",
    "flat icon of a yellow star at night",
    "photo of a purple chair in a gray studio",
    "pencil sketch of an orange fish on a blue background",
    "a white house in the snow",
    "ink sketch of a black hat on a pink background",
    "a red mug and a blue star on a wooden table",
    "a yellow boat and a green umbrella on a beach",
    "a small pink shoe on the left on grass",
    "flat illustration of a large brown mushroom at sunset",
)


@dataclass(frozen=True)
class Latents:
    """Latents `[n, 4, 16, 16]` of the pictures, token numbers `[n, captions, 77]` of captions."""

    values: torch.Tensor
    ids: torch.Tensor
    empty: torch.Tensor


def make_latents(work: Work, tokenizer: CLIPTokenizer, vae: AutoencoderKL) -> Latents:
    """Encode the training pictures and their captions, once; they are kept in memory after that.

    What another autoencoder, tokenizer or set of drawings left behind is made anew.
    """
    data = work.recipe["data"]
    drawings = dataset.load(work.data, data["held_out"])
    drawn = fingerprints.of_drawings(work)

    def say() -> torch.Tensor:
        rows = dataset.captions(drawings.specs[: drawings.trained], data["captions"], data["seed"])
        return torch.stack([tokens(tokenizer, row).to(torch.int16) for row in rows])

    def see() -> torch.Tensor:
        return encode(vae, drawings.pictures[: drawings.trained])

    words, weights = fingerprints.of_words(tokenizer), fingerprints.of_weights(vae)
    ids = kept(work.folder / "captions.pt", f"{drawn} {words}", say)
    values = kept(work.folder / "latents.pt", f"{drawn} {weights}", see)
    return Latents(values, ids, tokens(tokenizer, [""])[0])


def kept(path: Path, of: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor in `path` if it was made from `of`; otherwise `make` it, and keep it whole."""
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["of"] == of:
            values: torch.Tensor = state["values"]
            return values
    values = make()
    partial = path.with_suffix(".part")
    torch.save({"of": of, "values": values}, partial)
    partial.replace(path)
    return values


@torch.inference_mode()
def encode(vae: AutoencoderKL, pictures: Pixels, batch: int = 50) -> torch.Tensor:
    """Scaled latents `[n, 4, 16, 16]`, in half precision."""
    made = []
    with fast_math():
        for start in range(0, len(pictures), batch):
            latents = vae.encode(as_input(pictures[start : start + batch])).latent_dist.mean
            made.append((latents.float() * vae.config.scaling_factor).half())
            if start % (400 * batch) == 0:
                print(f"encoded {start:,} of {len(pictures):,}", flush=True)
    return torch.cat(made)


def train(work: Work, tokenizer: CLIPTokenizer, text: CLIPTextModel, vae: AutoencoderKL) -> None:
    """Train the U-Net until the plan's steps are done, from the last checkpoint if there is one."""
    plan = work.recipe["unet"]
    torch.manual_seed(1)
    unet = build_unet(plan["widths"], plan["heads"], text.config.hidden_size)
    # The encoder already reads captions: learning it along would take a third of the time.
    text.requires_grad_(False).eval()
    groups = [(unet.parameters(), plan["learning_rate"])]
    schedule = Plan(plan["steps"], plan["warmup"], plan["decay"], plan["average"])
    latents = make_latents(work, tokenizer, vae)
    of = f"{fingerprints.of_weights(vae)} {fingerprints.of_weights(text)}"
    run = Run(work.run("unet"), {"unet": unet}, groups, schedule, of)
    if run.resume() and not run.done:
        shutil.rmtree(work.folder / "unet_trained", ignore_errors=True)
    for batch in _batches(latents, plan, range(run.step, plan["steps"])):
        run.learn(_loss(unet, text, batch), plan["batch"])
        if run.step % SAMPLE_EVERY == 0 or run.done:
            run.swap()
            pipeline = build_pipeline(unet, text, tokenizer, vae)
            write_sheet(pipeline, SAMPLE_PROMPTS, run.folder / f"sample-{run.step:06}.png")
            run.swap()
            unet.train()
    run.save()
    run.averaged()
    unet.save_pretrained(work.folder / "unet_trained")


@dataclass(frozen=True)
class Batch:
    """Noisy latents `[n, 4, 16, 16]`, times `[n]`, token numbers `[n, 77]`, velocity to say."""

    noisy: torch.Tensor
    times: torch.Tensor
    ids: torch.Tensor
    velocity: torch.Tensor


def _batches(latents: Latents, plan: dict[str, float], steps: Iterable[int]) -> Iterator[Batch]:
    """One batch per step, each made while the one before is learnt from."""
    schedule = noise_schedule()
    with ThreadPoolExecutor(1) as ahead:
        following = None
        for step in steps:
            current = following
            following = ahead.submit(_batch, latents, plan, schedule, step)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()


def _batch(latents: Latents, plan: dict[str, float], schedule: DDPMScheduler, step: int) -> Batch:
    random = torch.Generator().manual_seed(1_000_003 * step + 17)
    count = int(plan["batch"])
    rows = torch.randint(len(latents.values), (count,), generator=random)
    clean = latents.values[rows].float()
    ids = latents.ids[rows, torch.randint(latents.ids.shape[1], (count,), generator=random)].long()
    ids[torch.rand(count, generator=random) < plan["empty_captions"]] = latents.empty
    noise = torch.randn(clean.shape, generator=random)
    times = draw_times(count, random)
    noisy = schedule.add_noise(clean, noise, times)
    return Batch(noisy, times, ids, schedule.get_velocity(clean, noise, times))


def _loss(unet: UNet2DConditionModel, text: CLIPTextModel, batch: Batch) -> torch.Tensor:
    with fast_math():
        with torch.no_grad():
            words = text(batch.ids)[0]
        velocity = unet(batch.noisy, batch.times, words).sample
    return F.mse_loss(velocity.float(), batch.velocity)


def draw_times(count: int, random: torch.Generator) -> torch.Tensor:
    """Times `[n]` of 0 to 999: half of them anywhere, half around the middle."""
    anywhere = torch.rand(count, generator=random)
    middle = torch.sigmoid(torch.randn(count, generator=random))
    chosen = torch.where(torch.rand(count, generator=random) < 0.5, anywhere, middle)
    return (chosen * 1000).long().clamp(0, 999)


def write_sheet(
    pipeline: StableDiffusionPipeline, prompts: tuple[str, ...], path: Path, columns: int = 4
) -> None:
    """One picture per prompt, in rows."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.eval(), pipeline.text_encoder.eval()
    random = [torch.Generator().manual_seed(100 + number) for number in range(len(prompts))]
    pictures = pipeline(
        list(prompts), num_inference_steps=20, guidance_scale=4.0, generator=random
    ).images
    side = pictures[0].width
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * side, number // columns * side))
    sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.LANCZOS).save(path)
