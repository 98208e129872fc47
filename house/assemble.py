"""Puts the trained parts into one diffusers folder: half precision, safetensors, nothing else."""

from __future__ import annotations

import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from house.networks import build_pipeline, build_unet
from house.recipe import Work


def assemble(work: Work) -> None:
    """Write the model: from finished runs, or from an unfinished one's last averaged weights."""
    folder = work.model
    text = CLIPTextModel.from_pretrained(work.folder / "text_read")
    vae = AutoencoderKL.from_pretrained(work.folder / "vae")
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    unet = _trained_unet(work, text.config.hidden_size)
    pipeline = build_pipeline(unet.half(), text.half(), tokenizer, vae.half())
    pipeline.save_pretrained(folder, safe_serialization=True)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    # DDIM clips latents by default, and made grey pictures of them.
    config |= {"clip_sample": False, "set_alpha_to_one": False}
    path.write_text(json.dumps(config, indent=2) + "\n")
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {total / 1e6:.1f} MB")


def _trained_unet(work: Work, text_width: int) -> UNet2DConditionModel:
    finished = work.folder / "unet_trained"
    if finished.exists():
        return UNet2DConditionModel.from_pretrained(finished)
    plan = work.recipe["unet"]
    unet = build_unet(plan["widths"], plan["heads"], text_width)
    state = torch.load(work.run("unet") / "checkpoint.pt", weights_only=True)
    print(f"from step {state['step']:,}")
    with torch.no_grad():
        for weight, average in zip(unet.parameters(), state["average"], strict=True):
            weight.copy_(average)
    return unet
