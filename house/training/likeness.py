"""Trains the IP-Adapter: what is drawn shows what an example picture shows.

First its image encoder learns to answer the judge's questions of drawings. Then that is frozen, and
the projection and the layers learn to say it to the frozen U-Net, mostly without a caption.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from house import dataset
from house.drawing.render import Pixels
from house.drawing.specs import Spec
from house.questions import QUESTIONS, answer_numbers, reading_loss
from house.recipe import Work
from house.training.denoiser import Latents
from house.training.fingerprints import of_weights
from house.training.frozen import (
    examples,
    load_base,
    noised,
    pick_rows,
    random_for,
    velocity_loss,
)
from house.training.loop import Plan, Run, fast_math

WORDS = 4
_AT_ONCE = 250


def train_likeness(work: Work) -> None:
    """Train the image encoder, then the IP-Adapter, and keep both."""
    plan = work.recipe["likeness"]
    pictures, specs = draw_examples(plan["pictures"], plan["seed"])
    pipeline = load_base(work.model)
    encoder = train_encoder(pictures, specs, plan, work.run("likeness_encoder"))
    texts = dataset.captions(specs, plan["captions"], plan["seed"])
    latents = examples(pipeline, pictures, texts)
    seen = look_at(encoder, pictures)
    state = train_adapter(pipeline, latents, seen, plan, work.run("likeness"))
    save_ip_adapter(state, encoder, work.adapters / "likeness")


def draw_examples(count: int, seed: int) -> tuple[Pixels, list[Spec]]:
    """Drawings of their own, and what they show."""
    drawn = [dataset.picture(seed, number) for number in range(count)]
    return np.stack([pixels for pixels, _ in drawn]), [spec for _, spec in drawn]


def build_encoder(plan: dict[str, Any]) -> CLIPVisionModelWithProjection:
    """A small image encoder of CLIP's kind with weights at random."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=plan["width"],
            intermediate_size=2 * plan["width"],
            num_hidden_layers=plan["layers"],
            num_attention_heads=plan["heads"],
            image_size=plan["side"],
            patch_size=plan["patch"],
            projection_dim=plan["width"],
            hidden_act="gelu",
        )
    )


def as_seen(pictures: Pixels, side: int) -> torch.Tensor:
    """Pictures `[n, h, w, 3]` as such an encoder is given them, `[n, 3, side, side]`."""
    made = CLIPImageProcessorPil(size=side, crop_size=side)(list(pictures), return_tensors="pt")
    values: torch.Tensor = made["pixel_values"]
    return values


def train_encoder(
    pictures: Pixels, specs: list[Spec], plan: dict[str, Any], folder: Path
) -> CLIPVisionModelWithProjection:
    """Train the encoder by what drawings show; its heads for the answers are thrown away."""
    torch.manual_seed(plan["seed"])
    encoder, width = build_encoder(plan), plan["width"]
    heads = nn.ModuleDict({name: nn.Linear(width, len(all_)) for name, all_ in QUESTIONS.items()})
    schedule = Plan(plan["encoder_steps"], plan["warmup"], plan["decay"], plan["average"])
    parts = {"encoder": encoder, "heads": heads}
    groups = [(part.parameters(), plan["encoder_rate"]) for part in parts.values()]
    run = Run(folder, parts, groups, schedule)
    run.resume()
    truth = answer_numbers(specs)
    pixels = as_seen(pictures, plan["side"]).half() if not run.done else torch.zeros(0)
    while not run.done:
        random = random_for(plan["seed"], run.step)
        rows = torch.randint(len(pixels), (plan["encoder_batch"],), generator=random)
        with fast_math():
            seen = encoder(pixels[rows].float()).image_embeds
            scores = {name: head(seen) for name, head in heads.items()}
        run.learn(reading_loss(scores, {name: t[rows] for name, t in truth.items()}), len(rows))
    run.save()
    run.averaged()
    return encoder.requires_grad_(False).eval()


@torch.no_grad()
def look_at(encoder: CLIPVisionModelWithProjection, pictures: Pixels) -> torch.Tensor:
    """What the encoder sees in pictures, `[n, width]`."""
    side = encoder.config.image_size
    starts = range(0, len(pictures), _AT_ONCE)
    parts = (as_seen(pictures[start : start + _AT_ONCE], side) for start in starts)
    return torch.cat([encoder(part).image_embeds for part in parts])


def lay_over(pipeline: StableDiffusionPipeline, width: int) -> nn.ModuleList:
    """Lay a new IP-Adapter over the U-Net; its layers begin as those that look at words."""
    unet = pipeline.unet
    words = unet.config.cross_attention_dim
    state = {
        "image_proj": {
            "proj.weight": torch.randn(WORDS * words, width) / width**0.5,
            "proj.bias": torch.zeros(WORDS * words),
            "norm.weight": torch.ones(words),
            "norm.bias": torch.zeros(words),
        },
        "ip_adapter": {
            f"{2 * number + 1}.{mine}.weight": getattr(layer, own).weight.clone()
            for number, layer in enumerate(_looking(unet))
            for mine, own in (("to_k_ip", "to_k"), ("to_v_ip", "to_v"))
        },
    }
    unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    laid = nn.ModuleList([unet.encoder_hid_proj, *(layer.processor for layer in _looking(unet))])
    return laid.requires_grad_(True)


def train_adapter(
    pipeline: StableDiffusionPipeline,
    latents: Latents,
    seen: torch.Tensor,
    plan: dict[str, Any],
    folder: Path,
) -> dict[str, torch.Tensor]:
    """Train an IP-Adapter for the frozen U-Net; its tensors, named as they are published."""
    torch.manual_seed(plan["seed"])
    of = of_weights(pipeline.unet)
    laid = lay_over(pipeline, seen.shape[1])
    schedule = Plan(plan["steps"], plan["warmup"], plan["decay"], plan["average"])
    run = Run(folder, {"laid": laid}, [(laid.parameters(), plan["learning_rate"])], schedule, of)
    run.resume()
    while not run.done:
        random = random_for(plan["seed"], run.step)
        rows, clean, ids = pick_rows(latents, plan["batch"], random, plan["empty_captions"])
        shown = seen[rows]
        # What guidance leads away from sees nothing.
        shown = shown * (torch.rand(len(rows), 1, generator=random) >= plan["nothing"])
        run.learn(_loss(pipeline, clean, ids, shown, random), plan["batch"])
    run.save()
    run.averaged()
    return _tensors(pipeline)


def _loss(
    pipeline: StableDiffusionPipeline,
    clean: torch.Tensor,
    ids: torch.Tensor,
    shown: torch.Tensor,
    random: torch.Generator,
) -> torch.Tensor:
    noisy, times, wanted = noised(clean, random)
    with fast_math():
        with torch.no_grad():
            hidden = pipeline.text_encoder(ids)[0]
        added = {"image_embeds": [shown[:, None]]}
        velocity = pipeline.unet(noisy, times, hidden, added_cond_kwargs=added).sample
    return velocity_loss(velocity, wanted)


def _looking(unet: Any) -> list[Any]:  # noqa: ANN401 - diffusers has no types
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    return [unet.get_submodule(name) for name in names if not name.endswith("attn1")]


def _tensors(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    projection = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
    named = {
        f"image_proj.{name.replace('image_embeds', 'proj')}": tensor
        for name, tensor in projection.state_dict().items()
    }
    for number, layer in enumerate(_looking(pipeline.unet)):
        for mine in ("to_k_ip", "to_v_ip"):
            weight = getattr(layer.processor, mine)[0].weight
            named[f"ip_adapter.{2 * number + 1}.{mine}.weight"] = weight
    return {name: tensor.detach().half().contiguous() for name, tensor in named.items()}


def save_ip_adapter(
    state: dict[str, torch.Tensor], encoder: CLIPVisionModelWithProjection, folder: Path
) -> None:
    """The IP-Adapter's one file, and its image encoder in a folder beside it."""
    beside = folder / "image_encoder"
    beside.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "ip_adapter.safetensors")
    encoder.half().save_pretrained(beside)
    config = json.loads((beside / "config.json").read_text())
    said = {name: config[name] for name in _SAID}
    text = json.dumps(said, indent=2, sort_keys=True)
    (beside / "config.json").write_text(f"{text}\n")


# What a library keeps of the config, and nothing that depends on versions.
_SAID = (
    "architectures",
    "hidden_act",
    "hidden_size",
    "image_size",
    "intermediate_size",
    "layer_norm_eps",
    "model_type",
    "num_attention_heads",
    "num_channels",
    "num_hidden_layers",
    "patch_size",
    "projection_dim",
)
