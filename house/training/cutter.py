"""Trains the network that cuts objects out: a narrow U²-Net, on drawings whose masks are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn

from gpuagent.pipelines.u2net import make_network, normalized, run_network
from gpuagent.protocol.cutter_files import plain_shapes
from house.cutting import Masked, draw_batch, drawn_masked, measured_specs, overlap
from house.judge import worsened
from house.recipe import MODEL, Work
from house.training.loop import Plan, Run, fast_math


def train_cutter(work: Work) -> None:
    """Train it, keep it in half precision, and print how well masks are met."""
    plan = work.recipe["cutout"]
    torch.manual_seed(plan["seed"])
    # Half of the pictures are as the house model's autoencoder leaves them: soft, as it draws.
    vae = AutoencoderKL.from_pretrained(MODEL / "vae", dtype=torch.float32).eval()
    vae.requires_grad_(False)
    network = build(plan["within"], plan["width"])
    schedule = Plan(plan["steps"], plan["warmup"], plan["decay"], plan["average"])
    groups = [(network.parameters(), plan["learning_rate"])]
    run = Run(work.run("cutout"), {"network": network}, groups, schedule)
    run.resume()
    while not run.done:
        is_small = run.step < plan["small_share"] * plan["steps"]
        side = plan["small_side"] if is_small else plan["side"]
        drawn = draw_batch(plan["seed"], run.step, plan["batch"], side)
        pictures = softened(vae, drawn.pictures, plan["seed"], run.step)
        with fast_math():
            found = run_network(network, _laid_out(normalized(pictures)))
        run.learn(mask_loss(found, drawn.masks), plan["batch"])
    run.save()
    run.averaged()
    _settle(network, vae, plan)
    folder = work.adapters / "cutout"
    save(network, folder, plan["side"])
    for name, figure in measure(network, vae, plan["side"]).items():
        print(f"held-out drawings, {name}: {figure:.4f}", flush=True)


def build(within: int, width: int) -> nn.Module:
    """A U²-Net whose stages are all of one width, in the order of memory that is quick here."""
    network: Any = make_network(plain_shapes(within, width))
    made: nn.Module = network.to(memory_format=torch.channels_last)
    return made


def softened(vae: AutoencoderKL, pictures: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """Half of them as the house model's autoencoder leaves them; all blurred or noisy a little."""
    half = len(pictures) // 2
    with torch.inference_mode(), fast_math():
        latents = vae.encode(pictures[:half] * 2 - 1).latent_dist.mean
        soft = vae.decode(latents).sample.float()
    both = torch.cat([soft.clone().clamp(-1, 1), pictures[half:] * 2 - 1])
    return worsened(both, np.random.default_rng((seed, step, 1))) / 2 + 0.5


def mask_loss(found: list[torch.Tensor], true: torch.Tensor) -> torch.Tensor:
    """Cross entropy of every stage's mask, as published; and what the best one's overlap lacks."""
    best = torch.sigmoid(found[0].float())
    both = (best * true).sum((1, 2, 3))
    either = (best + true - best * true).sum((1, 2, 3))
    lacking = (1 - (both + 1) / (either + 1)).mean()
    entropies = [F.binary_cross_entropy_with_logits(one.float(), true) for one in found]
    return torch.stack(entropies).sum() + lacking


@torch.no_grad()
def _settle(network: nn.Module, vae: AutoencoderKL, plan: dict[str, Any]) -> None:
    """Measure anew what batch normalization divides by: it was of the weights not averaged."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    for number in range(60):
        step = plan["steps"] + number
        drawn = draw_batch(plan["seed"], step, plan["batch"], plan["side"])
        run_network(network, normalized(softened(vae, drawn.pictures, plan["seed"], step)))
    network.eval()


def save(network: nn.Module, folder: Path, side: int) -> None:
    """A folder that can be registered: the network in half precision, and the side it reads at."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.half().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(weights, folder / "cutout.safetensors")
    config = json.dumps({"network": "u2net", "side": side}, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(config, encoding="ascii")


@torch.inference_mode()
def measure(
    network: nn.Module, vae: AutoencoderKL, side: int, count: int = 200
) -> dict[str, float]:
    """Mean overlap and mean absolute error of masks, on what training never had."""
    sets = {
        "unseen together": drawn_masked(measured_specs(count)),
        "unseen kinds": drawn_masked(measured_specs(count, kinds=True)),
        "unseen color": drawn_masked(measured_specs(count, colour=True)),
    }
    soft = sets["unseen together"]
    latents = vae.encode(soft.pictures * 2 - 1).latent_dist.mean
    sets["through the autoencoder"] = Masked(
        (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1), soft.masks
    )
    found: dict[str, float] = {}
    for name, masked in sets.items():
        masks = torch.cat(
            [
                torch.sigmoid(run_network(network, normalized(few))[0])
                for few in torch.split(masked.pictures, 20)
            ]
        )
        found[f"{name}, overlap"] = overlap(masks, masked.masks).mean().item()
        found[f"{name}, error"] = (masks - masked.masks).abs().mean().item()
    return found


def _laid_out(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)
