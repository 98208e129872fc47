"""U²-Net, the network that tells an object from what is behind it, after its published description.

Qin et al. 2020, "U²-Net: Going deeper with nested U-structure for salient object detection": a
U-Net whose every stage is a small U-Net itself. The names of the parameters are those of the
published weights (`u2net`, `u2netp`); how wide the stages are is read from the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpuagent.protocol.cutter_files import STAGES, Stage, stages_of

if TYPE_CHECKING:
    import torch
    from torch import nn

_SIDES = 6
# What the published weights expect of colors, as most networks that saw ImageNet.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_network(shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """The network that these weights, given by their shapes, belong to; its weights at random.

    Raises:
        ValueError: they are of another network.
    """
    from torch import nn

    network = nn.Module()
    stages = stages_of(shapes)
    for name, stage in stages.items():
        network.add_module(name, _make_stage(stage))
    for side in range(1, _SIDES + 1):
        width = stages["stage6" if side == _SIDES else f"stage{side}d"].leaving
        network.add_module(f"side{side}", nn.Conv2d(width, 1, 3, padding=1))
    network.add_module("outconv", nn.Conv2d(_SIDES, 1, 1))
    return network


def normalized(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures `[n, 3, h, w]` of 0 to 1 as the network reads them."""
    import torch

    mean, deviation = (
        torch.tensor(row, device=pictures.device).view(1, 3, 1, 1) for row in (_MEAN, _DEVIATION)
    )
    return (pictures - mean) / deviation


def run_network(network: nn.Module, picture: torch.Tensor) -> list[torch.Tensor]:
    """Logits of the mask at the picture's size: all stages together first, then each by itself.

    `picture` is `[n, 3, height, width]`, normalized.
    """
    import torch

    parts = dict(network.named_children())
    kept: list[torch.Tensor] = []
    values = picture
    for number in range(1, _SIDES + 1):
        if number > 1:
            values = _halve(values)
        values = _run_stage(parts[f"stage{number}"], STAGES[f"stage{number}"], values)
        kept.append(values)
    sides = [parts[f"side{_SIDES}"](values)]
    for number in range(_SIDES - 1, 0, -1):
        before = kept[number - 1]
        values = torch.cat((_grow(values, before), before), 1)
        values = _run_stage(parts[f"stage{number}d"], STAGES[f"stage{number}d"], values)
        sides.insert(0, parts[f"side{number}"](values))
    sides = [_grow(side, picture) for side in sides]
    return [parts["outconv"](torch.cat(sides, 1)), *sides]


def _make_stage(stage: Stage) -> nn.Module:
    """A small U-Net: down to `depth` layers, the last of them dilated, and up again."""
    from torch import nn

    made = nn.Module()
    for layer, (entering, leaving, dilation) in stage.layers().items():
        block = nn.Module()
        block.conv_s1 = nn.Conv2d(entering, leaving, 3, padding=dilation, dilation=dilation)
        block.bn_s1 = nn.BatchNorm2d(leaving)
        made.add_module(layer, block)
    return made


def _run_stage(stage: nn.Module, form: tuple[int, bool], values: torch.Tensor) -> torch.Tensor:
    import torch

    depth, is_flat = form
    blocks = dict(stage.named_children())
    first = _run_block(blocks["rebnconvin"], values)
    kept: list[torch.Tensor] = []
    values = first
    for number in range(1, depth + 1):
        if 1 < number < depth and not is_flat:
            values = _halve(values)
        values = _run_block(blocks[f"rebnconv{number}"], values)
        kept.append(values)
    for number in range(depth - 1, 0, -1):
        before = kept[number - 1]
        values = torch.cat((_grow(values, before), before), 1)
        values = _run_block(blocks[f"rebnconv{number}d"], values)
    return values + first


def _run_block(block: nn.Module, values: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    parts = dict(block.named_children())
    return functional.relu(parts["bn_s1"](parts["conv_s1"](values)))


def _halve(values: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.max_pool2d(values, 2, 2, ceil_mode=True)


def _grow(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    if values.shape[2:] == like.shape[2:]:
        return values
    return functional.interpolate(values, size=like.shape[2:], mode="bilinear", align_corners=False)
