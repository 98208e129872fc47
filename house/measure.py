"""Measures what a model and its adapters do: with the judge, with edges, with colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline

from house.evaluation import Verdict, figures

BATCH = 8
# As many pixels as an edge may be off and still count as met.
NEAR = 2
# The part of a side, in the middle, that a single object fills.
MIDDLE = 0.3
VIVID = 0.35


@torch.inference_mode()
def generate(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = 20,
    guidance_scale: float = 4.0,
    size: int = 128,
    condition: torch.Tensor | None = None,
    control_scale: float = 1.0,
) -> torch.Tensor:
    """Pictures `[n, 3, size, size]` of -1 to 1.

    `condition` `[n, 3, h, w]` is for a ControlNet, which counts by `control_scale`.
    """
    pipeline.set_progress_bar_config(disable=True)
    made = []
    for start in range(0, len(prompts), BATCH):
        few = slice(start, start + BATCH)
        more: dict[str, Any] = {}
        if condition is not None:
            more = {"image": condition[few], "controlnet_conditioning_scale": control_scale}
        pictures = pipeline(
            list(prompts[few]),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=size,
            width=size,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds[few]],
            output_type="pt",
            **more,
        ).images
        made.append(pictures.float().cpu() * 2 - 1)
    return torch.cat(made)


def share_right(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The share of pictures of one object that are right (0 to 1), as the benchmark counts."""
    return figures(verdicts, [])


def edge_f1(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """How well edges `[n, 1, h, w]` of 0 or 1 agree, give or take two pixels: 1 is wholly."""
    precision = _share_near(made, wanted)
    recall = _share_near(wanted, made)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def hue_of_object(pictures: torch.Tensor) -> torch.Tensor:
    """The hue `[n]`, from 0 to 1, of what stands in the middle of pictures of -1 to 1.

    It is the mean direction on the colour circle of the vivid pixels; without any it is NaN.
    """
    height, width = pictures.shape[-2:]
    top, left = round(height * (1 - MIDDLE) / 2), round(width * (1 - MIDDLE) / 2)
    middle = pictures[..., top : height - top, left : width - left].clamp(-1, 1) / 2 + 0.5
    red, green, blue = middle.unbind(1)
    across = red - (green + blue) / 2
    up = math.sqrt(3) / 2 * (green - blue)
    most = middle.amax(1)
    vivid = (most - middle.amin(1)) / most.clamp(min=1e-6) > VIVID
    x, y = ((value * vivid).sum((1, 2)) for value in (across, up))
    hue = torch.atan2(y, x) / (2 * math.pi) % 1
    return torch.where(vivid.any(-1).any(-1), hue, math.nan)


def _share_near(lines: torch.Tensor, others: torch.Tensor) -> float:
    wide = F.max_pool2d(others, 2 * NEAR + 1, 1, NEAR)
    return float((lines * wide).sum() / lines.sum().clamp(min=1))
