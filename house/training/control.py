"""Trains the ControlNet that draws along given edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn

from house import dataset
from house.drawing.render import Pixels
from house.edges import as_condition, edges
from house.evaluation import as_input
from house.recipe import Work
from house.training.denoiser import Latents, make_latents
from house.training.fingerprints import of_weights
from house.training.frozen import load_base, noised, pick_rows, random_for, velocity_loss
from house.training.loop import Plan, Run, fast_math

# Three halvings bring a picture of 128 to the latents' 16.
EMBEDDING_WIDTHS = (8, 16, 32, 64)


def train_canny(work: Work) -> None:
    """Train the ControlNet on the edges of the training drawings."""
    pipeline = load_base(work.model)
    latents = make_latents(work, pipeline.tokenizer, pipeline.vae)
    drawings = dataset.load(work.data, work.recipe["data"]["held_out"])
    plan, folder = work.recipe["canny"], work.run("canny")
    # So many fit into memory; read one by one from a disk they would take longer than learning.
    pictures = np.array(drawings.pictures[: plan["pictures"]])
    few = replace(latents, values=latents.values[: len(pictures)], ids=latents.ids[: len(pictures)])
    control = train_control(pipeline, pictures, few, plan, folder)
    control.half().save_pretrained(work.adapters / "canny")


def build_control(unet: UNet2DConditionModel, widths: tuple[int, ...]) -> ControlNetModel:
    """A ControlNet with the weights of the U-Net's first half.

    Its reader of edges starts with weights that keep the size of what they read. With torch's own
    start, eight convolutions leave a thousandth of an edge, and nothing is learnt for a long time.
    """
    copied = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
    # `from_unet` forgets how many heads pool the text; the weights themselves fit any number.
    plan = {name: value for name, value in copied.config.items() if not name.startswith("_")}
    plan["addition_embed_type_num_heads"] = unet.config.addition_embed_type_num_heads
    control = ControlNetModel(**plan)
    control.load_state_dict(copied.state_dict())
    reader = control.controlnet_cond_embedding
    for name, weight in reader.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        else:
            nn.init.zeros_(weight)
    with torch.no_grad():
        reader.conv_out.weight.mul_(0.3)
    return control


def train_control(
    pipeline: StableDiffusionPipeline,
    pictures: Pixels,
    latents: Latents,
    plan: dict[str, Any],
    folder: Path,
    widths: tuple[int, ...] = EMBEDDING_WIDTHS,
) -> ControlNetModel:
    """Train a ControlNet for the frozen U-Net; half of the captions are left out on purpose."""
    torch.manual_seed(plan["seed"])
    of = of_weights(pipeline.unet)
    control = build_control(pipeline.unet, widths).to(memory_format=torch.channels_last)
    schedule = Plan(plan["steps"], plan["warmup"], plan["decay"], plan["average"])
    groups = [(control.parameters(), plan["learning_rate"])]
    run = Run(folder, {"control": control}, groups, schedule, of)
    run.resume()
    while not run.done:
        random = random_for(plan["seed"], run.step)
        rows, clean, ids = pick_rows(latents, plan["batch"], random, plan["empty_captions"])
        lines = as_condition(edges(as_input(pictures[rows.numpy()])))
        run.learn(_loss(pipeline, control, clean, ids, lines, random), plan["batch"])
    run.save()
    run.averaged()
    return control


def _loss(
    pipeline: StableDiffusionPipeline,
    control: ControlNetModel,
    clean: torch.Tensor,
    ids: torch.Tensor,
    lines: torch.Tensor,
    random: torch.Generator,
) -> torch.Tensor:
    noisy, times, wanted = noised(clean, random)
    with fast_math():
        with torch.no_grad():
            hidden = pipeline.text_encoder(ids)[0]
        down, middle = control(noisy, times, hidden, lines, return_dict=False)
        velocity = pipeline.unet(
            noisy,
            times,
            hidden,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    return velocity_loss(velocity, wanted)
