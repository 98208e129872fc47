"""T5's encoder in a single file: the names of transformers, its plan told from shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from library.single_files.pieces import Piece, UnfitFileError, count, shape_of
from library.tensor_files import Shape

_LAYERS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Plan:
    """What the shapes tell; `heads` of `head` numbers each, near and far in `buckets`."""

    words: int
    width: int
    inner: int
    layers: int
    heads: int
    head: int
    buckets: int

    @property
    def config(self) -> dict[str, object]:
        """Of its folder; what is not told by shapes is the same in all of T5 1.1."""
        return {
            "architectures": ["T5EncoderModel"],
            "model_type": "t5",
            "vocab_size": self.words,
            "d_model": self.width,
            "d_ff": self.inner,
            "d_kv": self.head,
            "num_heads": self.heads,
            "num_layers": self.layers,
            "relative_attention_num_buckets": self.buckets,
            "relative_attention_max_distance": 128,
            "feed_forward_proj": "gated-gelu",
            "layer_norm_epsilon": 1e-06,
            "tie_word_embeddings": False,
            "decoder_start_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 0,
        }


def read_t5(shapes: Mapping[str, Shape]) -> T5Plan:
    """The plan of T5's encoder.

    Raises:
        UnfitFileError: it is not one of this kind, or tensors are missing.
    """
    words, width = shape_of(shapes, "shared.weight", 2)
    first = "encoder.block.0.layer.0.SelfAttention"
    buckets, heads = shape_of(shapes, f"{first}.relative_attention_bias.weight", 2)
    rows = shape_of(shapes, f"{first}.q.weight", 2)[0]
    if rows % heads:
        raise UnfitFileError(f"its T5 has {rows} numbers for {heads} heads")
    return T5Plan(
        words=words,
        width=width,
        inner=shape_of(shapes, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 2)[0],
        layers=count(shapes, "encoder.block.{}.layer.0.layer_norm.weight", _LAYERS_MAX),
        heads=heads,
        head=rows // heads,
        buckets=buckets,
    )


def t5_pieces(plan: T5Plan) -> Iterator[Piece]:
    """Every tensor of such an encoder."""
    width, rows = plan.width, plan.heads * plan.head
    yield _same("shared", (plan.words, width))
    attention, feed = "layer.0.SelfAttention", "layer.1.DenseReluDense"
    for number in range(plan.layers):
        block = f"encoder.block.{number}"
        for name in ("q", "k", "v"):
            yield _same(f"{block}.{attention}.{name}", (rows, width))
        yield _same(f"{block}.{attention}.o", (width, rows))
        if not number:
            bias = f"{block}.{attention}.relative_attention_bias"
            yield _same(bias, (plan.buckets, plan.heads))
        for name in ("wi_0", "wi_1"):
            yield _same(f"{block}.{feed}.{name}", (plan.inner, width))
        yield _same(f"{block}.{feed}.wo", (width, plan.inner))
        for layer in range(2):
            yield _same(f"{block}.layer.{layer}.layer_norm", (width,))
    yield _same("encoder.final_layer_norm", (width,))


def _same(name: str, shape: Shape) -> Piece:
    full = f"{name}.weight"
    return Piece(old=full, new=full, shape=shape)
