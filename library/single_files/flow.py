"""The transformers of Flux and Stable Diffusion 3 in single files, told from names and shapes.

Their makers put several of diffusers' layers into one (queries, keys and values), and the halves of
the last modulation the other way round. `gpuagent.protocol.flow_names` has the names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gpuagent.protocol.flow_names import (
    FLUX_DOUBLE,
    FLUX_ENDS,
    FLUX_SINGLE,
    LAST_MODULATION,
    SD3_CONTEXT,
    SD3_ENDS,
    SD3_PICTURE,
    Names,
)
from library.single_files.pieces import Piece, UnfitFileError, count, shape_of, weighted
from library.tensor_files import Shape

PREFIXES = ("model.diffusion_model.", "")
_TIME = 256  # numbers that stand for a point in time
_BLOCKS_MAX = 256
_FLUX_HEAD = 128  # of which positions take 16, 56 and 56
_SD3_HEAD = 64
LATENTS = 16
# Rows and columns of a block's layers, in widths of the model.
_SIZES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "norm1.linear": (6, 1),
        "norm1_context.linear": (6, 1),
        "norm.linear": (3, 1),
        "ff.net.0.proj": (4, 1),
        "ff.net.2": (1, 4),
        "ff_context.net.0.proj": (4, 1),
        "ff_context.net.2": (1, 4),
        "proj_mlp": (4, 1),
        "proj_out": (1, 5),
    }
)
_FLUX_NORMS = (
    ("img_attn.norm.query_norm.scale", "attn.norm_q.weight"),
    ("img_attn.norm.key_norm.scale", "attn.norm_k.weight"),
    ("txt_attn.norm.query_norm.scale", "attn.norm_added_q.weight"),
    ("txt_attn.norm.key_norm.scale", "attn.norm_added_k.weight"),
)
_FLUX_SINGLE_NORMS = (
    ("norm.query_norm.scale", "attn.norm_q.weight"),
    ("norm.key_norm.scale", "attn.norm_k.weight"),
)
_SD3_NORMS = (
    ("x_block.attn.ln_q.weight", "attn.norm_q.weight"),
    ("x_block.attn.ln_k.weight", "attn.norm_k.weight"),
    ("context_block.attn.ln_q.weight", "attn.norm_added_q.weight"),
    ("context_block.attn.ln_k.weight", "attn.norm_added_k.weight"),
)
_SD3_SECOND_NORMS = (
    ("x_block.attn2.ln_q.weight", "attn2.norm_q.weight"),
    ("x_block.attn2.ln_k.weight", "attn2.norm_k.weight"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxPlan:
    """What the shapes tell."""

    width: int
    channels: int
    words: int
    pooled: int
    doubles: int
    singles: int
    is_guided: bool

    @property
    def config(self) -> dict[str, object]:
        """Of `transformer/`."""
        return {
            "_class_name": "FluxTransformer2DModel",
            "attention_head_dim": _FLUX_HEAD,
            "axes_dims_rope": [16, 56, 56],
            "guidance_embeds": self.is_guided,
            "in_channels": self.channels,
            "joint_attention_dim": self.words,
            "num_attention_heads": self.width // _FLUX_HEAD,
            "num_layers": self.doubles,
            "num_single_layers": self.singles,
            "patch_size": 1,
            "pooled_projection_dim": self.pooled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sd3Plan:
    """What the shapes tell. Blocks in `twice` look at the picture twice."""

    width: int
    patch: int
    places: int
    words: int
    pooled: int
    blocks: int
    twice: tuple[int, ...]
    has_norms: bool

    @property
    def config(self) -> dict[str, object]:
        """Of `transformer/`."""
        return {
            "_class_name": "SD3Transformer2DModel",
            "attention_head_dim": _SD3_HEAD,
            "caption_projection_dim": self.width,
            "dual_attention_layers": list(self.twice),
            "in_channels": LATENTS,
            "joint_attention_dim": self.words,
            "num_attention_heads": self.width // _SD3_HEAD,
            "num_layers": self.blocks,
            "out_channels": LATENTS,
            "patch_size": self.patch,
            "pooled_projection_dim": self.pooled,
            "pos_embed_max_size": math.isqrt(self.places),
            "qk_norm": "rms_norm" if self.has_norms else None,
            "sample_size": 128,
        }


def read_flux(shapes: Mapping[str, Shape]) -> FluxPlan:
    """The plan of a transformer of Flux.

    Raises:
        UnfitFileError: it is none, or tensors are missing.
    """
    width, channels = shape_of(shapes, "img_in.weight", 2)
    if channels != LATENTS * 4:
        message = f"it reads {channels} channels, and a model that draws from a prompt alone 64"
        raise UnfitFileError(f"{message}: Fill, Depth and Canny models cannot be used")
    _divide(width, _FLUX_HEAD)
    return FluxPlan(
        width=width,
        channels=channels,
        words=shape_of(shapes, "txt_in.weight", 2)[1],
        pooled=shape_of(shapes, "vector_in.in_layer.weight", 2)[1],
        doubles=count(shapes, "double_blocks.{}.img_attn.qkv.weight", _BLOCKS_MAX),
        singles=count(shapes, "single_blocks.{}.linear1.weight", _BLOCKS_MAX),
        is_guided="guidance_in.in_layer.weight" in shapes,
    )


def read_sd3(shapes: Mapping[str, Shape]) -> Sd3Plan:
    """The plan of a transformer of Stable Diffusion 3.

    Raises:
        UnfitFileError: it is none, or tensors are missing.
    """
    width, _channels, patch, _patch = shape_of(shapes, "x_embedder.proj.weight", 4)
    places = shape_of(shapes, "pos_embed", 3)[1]
    _divide(width, _SD3_HEAD)
    if math.isqrt(places) ** 2 != places:
        raise UnfitFileError(f"its {places} places are no square")
    blocks = count(shapes, "joint_blocks.{}.x_block.attn.qkv.weight", _BLOCKS_MAX)
    second = "joint_blocks.{}.x_block.attn2.qkv.weight"
    return Sd3Plan(
        width=width,
        patch=patch,
        places=places,
        words=shape_of(shapes, "context_embedder.weight", 2)[1],
        pooled=shape_of(shapes, "y_embedder.mlp.0.weight", 2)[1],
        blocks=blocks,
        twice=tuple(number for number in range(blocks) if second.format(number) in shapes),
        has_norms="joint_blocks.0.x_block.attn.ln_q.weight" in shapes,
    )


def _divide(width: int, head: int) -> None:
    if width % head:
        raise UnfitFileError(f"it is {width} numbers wide, which {head} does not divide")


def flux_pieces(plan: FluxPlan) -> Iterator[Piece]:
    """Every tensor that a transformer of this plan has."""
    width = plan.width
    for number in range(plan.doubles):
        old, new = f"double_blocks.{number}", f"transformer_blocks.{number}"
        yield from _block(old, new, FLUX_DOUBLE, width, {})
        yield from _norms(old, new, _FLUX_NORMS, _FLUX_HEAD)
    for number in range(plan.singles):
        old, new = f"single_blocks.{number}", f"single_transformer_blocks.{number}"
        yield from _block(old, new, FLUX_SINGLE, width, {})
        yield from _norms(old, new, _FLUX_SINGLE_NORMS, _FLUX_HEAD)
    columns = {
        "img_in": plan.channels,
        "txt_in": plan.words,
        "time_in.in_layer": _TIME,
        "guidance_in.in_layer": _TIME,
        "vector_in.in_layer": plan.pooled,
    }
    for old, new in FLUX_ENDS.items():
        if plan.is_guided or not old.startswith("guidance_in"):
            yield from _end(old, new, plan.channels, width, columns.get(old, width))


def sd3_pieces(plan: Sd3Plan) -> Iterator[Piece]:
    """Every tensor that a transformer of this plan has."""
    width = plan.width
    for number in range(plan.blocks):
        old, new = f"joint_blocks.{number}", f"transformer_blocks.{number}"
        is_last, is_twice = number == plan.blocks - 1, number in plan.twice
        picture = {name: of for name, of in SD3_PICTURE.items() if is_twice or "attn2" not in name}
        sizes = {"norm1.linear": (9, 1)} if is_twice else {}
        yield from _block(f"{old}.x_block", new, picture, width, sizes)
        words = SD3_CONTEXT
        if is_last:  # of the words only what the picture looks at is needed
            kept = ("attn.qkv", "adaLN_modulation.1")
            words, sizes = {name: words[name] for name in kept}, {"norm1_context.linear": (2, 1)}
        yield from _block(f"{old}.context_block", new, words, width, sizes)
        if plan.has_norms:
            norms = _SD3_NORMS + (_SD3_SECOND_NORMS if is_twice else ())
            yield from _norms(old, new, norms, _SD3_HEAD)
    yield Piece(old="pos_embed", new="pos_embed.pos_embed", shape=(1, plan.places, width))
    shape = (width, LATENTS, plan.patch, plan.patch)
    yield from weighted("x_embedder.proj", SD3_ENDS["x_embedder.proj"], shape)
    columns = {
        "context_embedder": plan.words,
        "t_embedder.mlp.0": _TIME,
        "y_embedder.mlp.0": plan.pooled,
    }
    for old, new in SD3_ENDS.items():
        if old != "x_embedder.proj":
            out = LATENTS * plan.patch**2
            yield from _end(old, new, out, width, columns.get(old, width))


def _end(old: str, new: str, out: int, width: int, columns: int) -> Iterator[Piece]:
    """A layer before or after the blocks."""
    if old == LAST_MODULATION:
        yield from _layers(old, [(new, (2 * width, columns))], is_turned=True)
        return
    yield from weighted(old, new, (out if new == "proj_out" else width, columns))


def _block(
    old: str, new: str, names: Names, width: int, sizes: Mapping[str, tuple[int, int]]
) -> Iterator[Piece]:
    """The layers of a block; `sizes` are those that it has otherwise."""
    for name, layers in names.items():
        factors = [sizes.get(layer) or _SIZES.get(layer, (1, 1)) for layer in layers]
        found = [
            (f"{new}.{layer}", (rows * width, columns * width))
            for layer, (rows, columns) in zip(layers, factors, strict=True)
        ]
        # A modulation of two, shift and scale, has them the other way round.
        yield from _layers(f"{old}.{name}", found, is_turned=factors[0] == (2, 1))


def _layers(
    old: str, layers: Sequence[tuple[str, Shape]], *, is_turned: bool = False
) -> Iterator[Piece]:
    """What is one layer in the file, with its bias; its rows are those of these, in turn."""
    whole, at = sum(shape[0] for _name, shape in layers), 0
    for name, shape in layers:
        rows = shape[0]
        ranges: tuple[tuple[int, int], ...] = ((at, at + rows),)
        if is_turned:
            ranges = ((rows // 2, rows), (0, rows // 2))
        parts = () if ranges == ((0, whole),) else ranges
        for kind, sides in (("weight", shape), ("bias", (rows,))):
            yield Piece(
                old=f"{old}.{kind}", new=f"{name}.{kind}", shape=sides, rows=parts, of=whole
            )
        at += rows


def _norms(old: str, new: str, names: Sequence[tuple[str, str]], head: int) -> Iterator[Piece]:
    for theirs, ours in names:
        yield Piece(old=f"{old}.{theirs}", new=f"{new}.{ours}", shape=(head,))
