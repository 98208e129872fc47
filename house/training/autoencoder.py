"""Trains the autoencoder: pictures to latents of 4 × 16 × 16 and back.

Encoder and decoder learn together from a code set by hand (`house.encoder`). Three of the four
channels are held near that code's mean colours, so that latents stay smooth enough for a small
denoiser; the fourth is free to carry what edges need. Noise on the latents while training lets the
decoder forgive what a denoiser gets a little wrong.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from house import dataset
from house.dataset import SIDE, Dataset
from house.encoder import LinearCode, fit, set_by_hand
from house.evaluation import as_input, psnr
from house.recipe import Work
from house.training.loop import Plan, Run, fast_math

# Pictures that the starting code is fitted to, and held-out ones that a run is measured with.
FITTED_TO, MEASURED = 2_000, 128


def build_autoencoder(widths: list[int]) -> AutoencoderKL:
    """A stock autoencoder that divides each side by eight."""
    levels = len(widths)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=SIDE,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        scaling_factor=1.0,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )


def train_autoencoder(work: Work) -> None:
    """Train until the plan's steps are done, from the last checkpoint if there is one."""
    plan = work.recipe["autoencoder"]
    drawings = dataset.load(work.data, work.recipe["data"]["held_out"])
    code = fit(np.ascontiguousarray(drawings.pictures[:FITTED_TO]))
    torch.manual_seed(4)
    vae = build_autoencoder(plan["widths"])
    set_by_hand(vae, code)
    schedule = Plan(plan["steps"], warmup=60, decay=0.5, average=0.998, clip=0.5)
    groups = [
        (vae.encoder.parameters(), plan["encoder_rate"] * plan["learning_rate"]),
        (vae.decoder.parameters(), plan["learning_rate"]),
    ]
    run = Run(work.run("autoencoder"), {"vae": vae}, groups, schedule)
    run.resume()
    report(vae, drawings)
    while not run.done:
        random = np.random.default_rng((5, run.step))
        whole = run.step > plan["crops"] * plan["steps"]
        pictures, kept = _batch(drawings, code, random, plan["batch"], 16 if whole else 8)
        run.learn(_loss(vae, pictures, kept, plan, random), len(pictures))
        if run.step % 500 == 0:
            run.swap()
            report(vae, drawings)
            run.swap()
    run.save()
    run.averaged()
    report(vae, drawings)
    vae.save_pretrained(work.folder / "vae")


def _batch(
    drawings: Dataset, code: LinearCode, random: np.random.Generator, count: int, cells: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures cut to `cells` × `cells` latents, as many as take the same time, and their codes."""
    rows = drawings.some(random, count * 64 // cells**2)
    top, left = (8 * random.integers(0, 17 - cells, 2)).tolist()
    crops = drawings.pictures[rows, top : top + 8 * cells, left : left + 8 * cells]
    return as_input(crops), torch.from_numpy(code.encode(crops))


def _loss(
    vae: AutoencoderKL,
    pictures: torch.Tensor,
    kept: torch.Tensor,
    plan: dict[str, float],
    random: np.random.Generator,
) -> torch.Tensor:
    with fast_math():
        latents = vae.encoder(pictures)[:, :4].float()
    strength = torch.from_numpy(random.random((len(latents), 1, 1, 1), dtype=np.float32))
    noise = torch.from_numpy(random.standard_normal(latents.shape, dtype=np.float32))
    with fast_math():
        made = vae.decoder(latents + plan["noise"] * strength * noise).float()
    edges = sum(F.l1_loss(a, b) for a, b in zip(_slopes(made), _slopes(pictures), strict=True))
    anchor = F.mse_loss(latents[:, :3], kept[:, :3])
    loss = F.l1_loss(made, pictures) + F.mse_loss(made, pictures)
    # The free channel stays of the code's size, so that noise means the same for it.
    spread = (latents[:, 3].std() - 0.8).square() + latents[:, 3].mean().square()
    loss = loss + plan["edges"] * edges + plan["anchor"] * anchor
    total: torch.Tensor = loss + 0.02 * spread
    return total


def _slopes(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return pictures[..., 1:] - pictures[..., :-1], pictures[..., 1:, :] - pictures[..., :-1, :]


@torch.inference_mode()
def report(vae: AutoencoderKL, drawings: Dataset) -> float:
    """Print and return the PSNR (dB) on held-out drawings; print how alike neighbours are."""
    held = drawings.pictures[drawings.trained : drawings.trained + MEASURED]
    pictures = as_input(held)
    parts = [vae.encode(batch).latent_dist.mean for batch in torch.split(pictures, 32)]
    latents = torch.cat(parts)
    made = torch.cat([vae.decode(part).sample.clamp(-1, 1) for part in parts])
    noisy = [vae.decode(part + 0.15 * torch.randn_like(part)).sample.clamp(-1, 1) for part in parts]
    centred = latents - latents.mean((0, 2, 3), keepdim=True)
    variance = centred.square().mean((0, 2, 3))
    likeness = (centred[..., 1:] * centred[..., :-1]).mean((0, 2, 3)) / variance
    decibels = psnr(made, pictures)
    print(
        f"held-out {decibels:.2f} dB, with noise {psnr(torch.cat(noisy), pictures):.2f} dB;",
        f"spread {variance.sqrt().numpy().round(2)}, neighbours alike {likeness.numpy().round(2)}",
        flush=True,
    )
    return decibels
