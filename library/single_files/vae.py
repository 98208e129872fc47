"""The VAE of a single file: its plan told from shapes, its tensors' names in both spellings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.single_files.pieces import Piece, UnfitFileError, count, shape_of, weighted
from library.tensor_files import Shape

PREFIX = "first_stage_model."
_MIDDLE = (("block_1", "resnets.0"), ("block_2", "resnets.1"))
_ATTENTION = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VaePlan:
    """What the shapes tell; channels of each level, from the picture to the latents.

    `has_quant`: a layer more on either side of the latents, which newer ones do without.
    """

    channels: tuple[int, ...]
    layers: int
    latent_channels: int
    has_quant: bool = True


def read_plan(shapes: Mapping[str, Shape], *, needs_quant: bool = True) -> VaePlan:
    """The plan of a VAE, from the shapes under `PREFIX`, which is taken off them.

    Raises:
        UnfitFileError: it is not one of this kind, or tensors are missing.
    """
    levels = count(shapes, "encoder.down.{}.block.0.conv1.weight", 8)
    layers = count(shapes, "encoder.down.0.block.{}.conv1.weight", 8)
    if not levels or not layers:
        raise UnfitFileError("its VAE is incomplete")
    names = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    return VaePlan(
        channels=tuple(shape_of(shapes, name, 4)[0] for name in names),
        layers=layers,
        latent_channels=shape_of(shapes, "decoder.conv_in.weight", 4)[1],
        has_quant=needs_quant or "quant_conv.weight" in shapes,
    )


def vae_pieces(plan: VaePlan) -> Iterator[Piece]:
    """Every tensor that a VAE of this plan has."""
    yield from _encoder(plan)
    yield from _decoder(plan)
    if not plan.has_quant:
        return
    latents = plan.latent_channels
    yield from weighted("quant_conv", "quant_conv", (latents * 2, latents * 2, 1, 1))
    yield from weighted("post_quant_conv", "post_quant_conv", (latents, latents, 1, 1))


def _encoder(plan: VaePlan) -> Iterator[Piece]:
    first, last = plan.channels[0], plan.channels[-1]
    yield from weighted("encoder.conv_in", "encoder.conv_in", (first, 3, 3, 3))
    before = first
    for level, after in enumerate(plan.channels):
        old, new = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        for layer in range(plan.layers):
            yield from _resnet(f"{old}.block.{layer}", f"{new}.resnets.{layer}", before, after)
            before = after
        if level < len(plan.channels) - 1:
            shape = (after, after, 3, 3)
            yield from weighted(f"{old}.downsample.conv", f"{new}.downsamplers.0.conv", shape)
    yield from _ends("encoder", last, (plan.latent_channels * 2, last, 3, 3), last)


def _decoder(plan: VaePlan) -> Iterator[Piece]:
    first, last = plan.channels[0], plan.channels[-1]
    yield from weighted("decoder.conv_in", "decoder.conv_in", (last, plan.latent_channels, 3, 3))
    before = last
    for index, after in enumerate(reversed(plan.channels)):
        level = len(plan.channels) - 1 - index
        old, new = f"decoder.up.{level}", f"decoder.up_blocks.{index}"
        for layer in range(plan.layers + 1):
            yield from _resnet(f"{old}.block.{layer}", f"{new}.resnets.{layer}", before, after)
            before = after
        if level:
            shape = (after, after, 3, 3)
            yield from weighted(f"{old}.upsample.conv", f"{new}.upsamplers.0.conv", shape)
    yield from _ends("decoder", last, (3, first, 3, 3), first)


def _ends(side: str, middle: int, conv_out: tuple[int, ...], before: int) -> Iterator[Piece]:
    """The middle, and the way out, of the encoder or the decoder."""
    for old, new in _MIDDLE:
        yield from _resnet(f"{side}.mid.{old}", f"{side}.mid_block.{new}", middle, middle)
    old, new = f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0"
    yield from weighted(f"{old}.norm", f"{new}.group_norm", (middle,))
    for name, renamed in _ATTENTION:  # windows of one pixel in the single file, none here
        yield from weighted(f"{old}.{name}", f"{new}.{renamed}", (middle, middle))
    yield from weighted(f"{side}.norm_out", f"{side}.conv_norm_out", (before,))
    yield from weighted(f"{side}.conv_out", f"{side}.conv_out", conv_out)


def _resnet(old: str, new: str, before: int, after: int) -> Iterator[Piece]:
    yield from weighted(f"{old}.norm1", f"{new}.norm1", (before,))
    yield from weighted(f"{old}.conv1", f"{new}.conv1", (after, before, 3, 3))
    yield from weighted(f"{old}.norm2", f"{new}.norm2", (after,))
    yield from weighted(f"{old}.conv2", f"{new}.conv2", (after, after, 3, 3))
    if before != after:
        yield from weighted(f"{old}.nin_shortcut", f"{new}.conv_shortcut", (after, before, 1, 1))
