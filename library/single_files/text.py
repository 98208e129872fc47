"""The text encoders of a single file: CLIP as transformers spells it, and SDXL's OpenCLIP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.single_files.pieces import Piece, UnfitFileError, count, shape_of, weighted
from library.tensor_files import Shape

_LAYERS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlan:
    """What the shapes tell. `projection` is the width of the pooled text, 0 without one."""

    words: int
    width: int
    positions: int
    inner: int
    layers: int
    projection: int = 0


def read_clip(shapes: Mapping[str, Shape]) -> TextPlan:
    """The plan of a CLIP text encoder as transformers spells it, from below `text_model.`.

    Raises:
        UnfitFileError: it is not one of this kind, or tensors are missing.
    """
    words, width = shape_of(shapes, "embeddings.token_embedding.weight", 2)
    layers = count(shapes, "encoder.layers.{}.layer_norm1.weight", _LAYERS_MAX)
    if not layers:
        raise UnfitFileError("its text encoder has no layers")
    return TextPlan(
        words=words,
        width=width,
        positions=shape_of(shapes, "embeddings.position_embedding.weight", 2)[0],
        inner=shape_of(shapes, "encoder.layers.0.mlp.fc1.weight", 2)[0],
        layers=layers,
    )


def clip_pieces(plan: TextPlan) -> Iterator[Piece]:
    """Every tensor of such an encoder; the names are the same in both spellings."""
    for name, rows in (("token_embedding", plan.words), ("position_embedding", plan.positions)):
        full = f"embeddings.{name}.weight"
        yield Piece(old=full, new=full, shape=(rows, plan.width))
    for layer in range(plan.layers):
        for name, shape in _layer(plan):
            full = f"encoder.layers.{layer}.{name}"
            yield from weighted(full, full, shape)
    yield from weighted("final_layer_norm", "final_layer_norm", (plan.width,))


def _layer(plan: TextPlan) -> Iterator[tuple[str, Shape]]:
    width, inner = plan.width, plan.inner
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"self_attn.{name}", (width, width)
    yield "layer_norm1", (width,)
    yield "layer_norm2", (width,)
    yield "mlp.fc1", (inner, width)
    yield "mlp.fc2", (width, inner)


def read_open_clip(shapes: Mapping[str, Shape]) -> TextPlan:
    """The plan of an OpenCLIP text encoder.

    Raises:
        UnfitFileError: it is not one of this kind, or tensors are missing.
    """
    words, width = shape_of(shapes, "token_embedding.weight", 2)
    layers = count(shapes, "transformer.resblocks.{}.ln_1.weight", _LAYERS_MAX)
    if not layers:
        raise UnfitFileError("its second text encoder has no layers")
    return TextPlan(
        words=words,
        width=width,
        positions=shape_of(shapes, "positional_embedding", 2)[0],
        inner=shape_of(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        layers=layers,
        projection=shape_of(shapes, "text_projection", 2)[1],
    )


def open_clip_pieces(plan: TextPlan) -> Iterator[Piece]:
    """Every tensor of such an encoder, under transformers' names with a projection."""
    width, head = plan.width, "text_model"
    for old, new, rows in (
        ("token_embedding.weight", "token_embedding", plan.words),
        ("positional_embedding", "position_embedding", plan.positions),
    ):
        yield Piece(old=old, new=f"{head}.embeddings.{new}.weight", shape=(rows, width))
    for layer in range(plan.layers):
        old, new = f"transformer.resblocks.{layer}", f"{head}.encoder.layers.{layer}"
        for at, name in enumerate(("q_proj", "k_proj", "v_proj")):
            ranges = ((at * width, (at + 1) * width),)
            for kind, shape in (("weight", (width, width)), ("bias", (width,))):
                yield Piece(
                    old=f"{old}.attn.in_proj_{kind}",
                    new=f"{new}.self_attn.{name}.{kind}",
                    shape=shape,
                    rows=ranges,
                    of=3 * width,
                )
        yield from weighted(f"{old}.attn.out_proj", f"{new}.self_attn.out_proj", (width, width))
        yield from weighted(f"{old}.ln_1", f"{new}.layer_norm1", (width,))
        yield from weighted(f"{old}.ln_2", f"{new}.layer_norm2", (width,))
        yield from weighted(f"{old}.mlp.c_fc", f"{new}.mlp.fc1", (plan.inner, width))
        yield from weighted(f"{old}.mlp.c_proj", f"{new}.mlp.fc2", (width, plan.inner))
    yield from weighted("ln_final", f"{head}.final_layer_norm", (width,))
    yield Piece(
        old="text_projection",
        new="text_projection.weight",
        shape=(plan.projection, width),
        is_turned=True,
    )
