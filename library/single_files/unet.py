"""The U-Net of a single file: its plan told from shapes, its tensors' names in both spellings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.single_files.pieces import Piece, UnfitFileError, count, shape_of, weighted
from library.tensor_files import Shape

PREFIX = "model.diffusion_model."
_BLOCKS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Layers at one resolution; `depth` transformer blocks in each, 0 without attention."""

    channels: int
    layers: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetPlan:
    """What the shapes tell. `added` is the width of what SDXL adds to the time, 0 without."""

    in_channels: int
    out_channels: int
    context: int
    levels: tuple[Level, ...]
    middle_depth: int
    added: int = 0

    @property
    def time(self) -> int:
        """Width of the embedded time."""
        return self.levels[0].channels * 4


def read_plan(shapes: Mapping[str, Shape], *, is_half: bool = False) -> UNetPlan:
    """The plan of a U-Net, from the shapes under `PREFIX`, which is taken off them.

    A ControlNet has but the half of one that leads down.

    Raises:
        UnfitFileError: it is not one of this kind, or tensors are missing.
    """
    first = shape_of(shapes, "input_blocks.0.0.weight", 4)
    levels = _levels(shapes)
    context = next(
        (s[1] for n, s in shapes.items() if n.endswith("attn2.to_k.weight") and len(s) == 2), 0
    )
    added = "label_emb.0.0.weight"
    return UNetPlan(
        in_channels=first[1],
        out_channels=0 if is_half else shape_of(shapes, "out.2.weight", 4)[0],
        context=context,
        levels=levels,
        middle_depth=_depth(shapes, "middle_block.1"),
        added=shape_of(shapes, added, 2)[1] if added in shapes else 0,
    )


def _levels(shapes: Mapping[str, Shape]) -> tuple[Level, ...]:
    levels: list[Level] = []
    layers, channels, depth = 0, 0, 0
    for number in range(1, _BLOCKS_MAX):
        block = f"input_blocks.{number}.0"
        resnet = f"{block}.in_layers.2.weight"
        if resnet in shapes:
            channels = shape_of(shapes, resnet, 4)[0]
            layers, depth = layers + 1, _depth(shapes, f"input_blocks.{number}.1")
            continue
        if layers:
            levels.append(Level(channels=channels, layers=layers, depth=depth))
        layers = 0
        if f"{block}.op.weight" not in shapes:
            if any(name.startswith(f"input_blocks.{number}.") for name in shapes):
                raise UnfitFileError(f"it lacks '{PREFIX}{resnet}'")
            break
    if not levels or len({level.layers for level in levels}) > 1:
        raise UnfitFileError("the blocks of its U-Net are incomplete")
    return tuple(levels)


def _depth(shapes: Mapping[str, Shape], block: str) -> int:
    return count(shapes, block + ".transformer_blocks.{}.norm1.weight")


def unet_pieces(plan: UNetPlan) -> Iterator[Piece]:
    """Every tensor that a U-Net of this plan has."""
    yield from way_down(plan)
    yield from _up(plan)
    first = plan.levels[0].channels
    yield from weighted("out.0", "conv_norm_out", (first,))
    yield from weighted("out.2", "conv_out", (plan.out_channels, first, 3, 3))


def way_down(plan: UNetPlan) -> Iterator[Piece]:
    """The half that leads to the smallest resolution, and the middle."""
    first = plan.levels[0].channels
    yield from weighted("time_embed.0", "time_embedding.linear_1", (plan.time, first))
    yield from weighted("time_embed.2", "time_embedding.linear_2", (plan.time, plan.time))
    if plan.added:
        yield from weighted("label_emb.0.0", "add_embedding.linear_1", (plan.time, plan.added))
        yield from weighted("label_emb.0.2", "add_embedding.linear_2", (plan.time, plan.time))
    yield from weighted("input_blocks.0.0", "conv_in", (first, plan.in_channels, 3, 3))
    yield from _down(plan)
    yield from _middle(plan)


def _down(plan: UNetPlan) -> Iterator[Piece]:
    number, before = 1, plan.levels[0].channels
    for index, level in enumerate(plan.levels):
        new = f"down_blocks.{index}"
        for layer in range(level.layers):
            old = f"input_blocks.{number}"
            yield from _resnet(
                f"{old}.0", f"{new}.resnets.{layer}", before, level.channels, plan.time
            )
            if level.depth:
                yield from _attention(
                    f"{old}.1", f"{new}.attentions.{layer}", level.channels, level.depth, plan
                )
            before, number = level.channels, number + 1
        if index < len(plan.levels) - 1:
            shape = (level.channels, level.channels, 3, 3)
            old = f"input_blocks.{number}.0.op"
            yield from weighted(old, f"{new}.downsamplers.0.conv", shape)
            number += 1


def _middle(plan: UNetPlan) -> Iterator[Piece]:
    width = plan.levels[-1].channels
    yield from _resnet("middle_block.0", "mid_block.resnets.0", width, width, plan.time)
    yield from _attention(
        "middle_block.1", "mid_block.attentions.0", width, max(1, plan.middle_depth), plan
    )
    yield from _resnet("middle_block.2", "mid_block.resnets.1", width, width, plan.time)


def _up(plan: UNetPlan) -> Iterator[Piece]:
    over, number, before = passed(plan), 0, plan.levels[-1].channels
    for index, level in enumerate(reversed(plan.levels)):
        new = f"up_blocks.{index}"
        for layer in range(level.layers + 1):
            old = f"output_blocks.{number}"
            width = before + over.pop()
            yield from _resnet(
                f"{old}.0", f"{new}.resnets.{layer}", width, level.channels, plan.time
            )
            if level.depth:
                yield from _attention(
                    f"{old}.1", f"{new}.attentions.{layer}", level.channels, level.depth, plan
                )
            before, number = level.channels, number + 1
        if index < len(plan.levels) - 1:
            old = f"output_blocks.{number - 1}.{2 if level.depth else 1}.conv"
            shape = (level.channels, level.channels, 3, 3)
            yield from weighted(old, f"{new}.upsamplers.0.conv", shape)


def passed(plan: UNetPlan) -> list[int]:
    """Channels that go over from the way down to the way up, the last first."""
    over = [plan.levels[0].channels]
    for index, level in enumerate(plan.levels):
        is_last = index == len(plan.levels) - 1
        over += [level.channels] * (level.layers + (0 if is_last else 1))
    return over


def _resnet(old: str, new: str, before: int, after: int, time: int) -> Iterator[Piece]:
    yield from weighted(f"{old}.in_layers.0", f"{new}.norm1", (before,))
    yield from weighted(f"{old}.in_layers.2", f"{new}.conv1", (after, before, 3, 3))
    yield from weighted(f"{old}.emb_layers.1", f"{new}.time_emb_proj", (after, time))
    yield from weighted(f"{old}.out_layers.0", f"{new}.norm2", (after,))
    yield from weighted(f"{old}.out_layers.3", f"{new}.conv2", (after, after, 3, 3))
    if before != after:
        old = f"{old}.skip_connection"
        yield from weighted(old, f"{new}.conv_shortcut", (after, before, 1, 1))


def _attention(old: str, new: str, width: int, depth: int, plan: UNetPlan) -> Iterator[Piece]:
    """The names are the same in both spellings. SDXL's projections have no window."""
    window = () if plan.added else (1, 1)
    yield from weighted(f"{old}.norm", f"{new}.norm", (width,))
    for name in ("proj_in", "proj_out"):
        yield from weighted(f"{old}.{name}", f"{new}.{name}", (width, width, *window))
    for block in range(depth):
        parts = (f"{old}.transformer_blocks.{block}", f"{new}.transformer_blocks.{block}")
        for attention, context in (("attn1", width), ("attn2", plan.context)):
            for name, shape, bias in (
                ("to_q", (width, width), False),
                ("to_k", (width, context), False),
                ("to_v", (width, context), False),
                ("to_out.0", (width, width), True),
            ):
                pair = [f"{part}.{attention}.{name}" for part in parts]
                yield from weighted(pair[0], pair[1], shape, bias=bias)
        for name, sizes in (
            ("norm1", (width,)),
            ("norm2", (width,)),
            ("norm3", (width,)),
            ("ff.net.0.proj", (width * 8, width)),
            ("ff.net.2", (width, width * 4)),
        ):
            yield from weighted(f"{parts[0]}.{name}", f"{parts[1]}.{name}", sizes)
