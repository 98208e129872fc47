"""The names that the makers of Flux and Stable Diffusion 3 gave to their layers. Pure.

Single files and most LoRAs say them. What is one layer there may be several in diffusers: its rows
are theirs, one after the other. LoRAs of kohya's tools have underscores for dots.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

Names = Mapping[str, tuple[str, ...]]


def _stream(attention: str, mlp: tuple[str, str], modulation: str, *, is_context: bool) -> Names:
    """One of the two streams of a block, pictures or words."""
    read = ("add_q_proj", "add_k_proj", "add_v_proj") if is_context else ("to_q", "to_k", "to_v")
    feed, norm = ("ff_context", "norm1_context") if is_context else ("ff", "norm1")
    return {
        f"{attention}.qkv": tuple(f"attn.{name}" for name in read),
        f"{attention}.proj": ("attn.to_add_out" if is_context else "attn.to_out.0",),
        mlp[0]: (f"{feed}.net.0.proj",),
        mlp[1]: (f"{feed}.net.2",),
        modulation: (f"{norm}.linear",),
    }


FLUX_DOUBLE: Names = MappingProxyType(
    {
        **_stream("img_attn", ("img_mlp.0", "img_mlp.2"), "img_mod.lin", is_context=False),
        **_stream("txt_attn", ("txt_mlp.0", "txt_mlp.2"), "txt_mod.lin", is_context=True),
    }
)
FLUX_SINGLE: Names = MappingProxyType(
    {
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "linear2": ("proj_out",),
        "modulation.lin": ("norm.linear",),
    }
)
_FEED, _MODULATION = ("mlp.fc1", "mlp.fc2"), "adaLN_modulation.1"
SD3_CONTEXT: Names = MappingProxyType(dict(_stream("attn", _FEED, _MODULATION, is_context=True)))
SD3_PICTURE: Names = MappingProxyType(
    {
        **_stream("attn", _FEED, _MODULATION, is_context=False),
        "attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
        "attn2.proj": ("attn2.to_out.0",),
    }
)
_TIME, _TEXT, _GUIDANCE = (
    f"time_text_embed.{name}_embedder.linear_" for name in ("timestep", "text", "guidance")
)
LAST_MODULATION = f"final_layer.{_MODULATION}"
_LAST: Mapping[str, str] = {"final_layer.linear": "proj_out", LAST_MODULATION: "norm_out.linear"}
FLUX_ENDS: Mapping[str, str] = MappingProxyType(
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in.in_layer": f"{_TIME}1",
        "time_in.out_layer": f"{_TIME}2",
        "vector_in.in_layer": f"{_TEXT}1",
        "vector_in.out_layer": f"{_TEXT}2",
        "guidance_in.in_layer": f"{_GUIDANCE}1",
        "guidance_in.out_layer": f"{_GUIDANCE}2",
        **_LAST,
    }
)
SD3_ENDS: Mapping[str, str] = MappingProxyType(
    {
        "x_embedder.proj": "pos_embed.proj",
        "context_embedder": "context_embedder",
        "t_embedder.mlp.0": f"{_TIME}1",
        "t_embedder.mlp.2": f"{_TIME}2",
        "y_embedder.mlp.0": f"{_TEXT}1",
        "y_embedder.mlp.2": f"{_TEXT}2",
        **_LAST,
    }
)
# How a block is called there and here, and what is in it.
_BLOCKS: tuple[tuple[str, str, Names], ...] = (
    ("double_blocks", "transformer_blocks", FLUX_DOUBLE),
    ("single_blocks", "single_transformer_blocks", FLUX_SINGLE),
    (
        "joint_blocks",
        "transformer_blocks",
        MappingProxyType(
            {f"x_block.{old}": new for old, new in SD3_PICTURE.items()}
            | {f"context_block.{old}": new for old, new in SD3_CONTEXT.items()}
        ),
    ),
)


def _flat(name: str) -> str:
    return name.replace(".", "_")


_INSIDE: Mapping[str, tuple[str, Names]] = {
    _flat(old): (new, {_flat(name): tuple(map(_flat, of)) for name, of in names.items()})
    for old, new, names in _BLOCKS
}
_ENDS = {_flat(old): _flat(new) for old, new in {**SD3_ENDS, **FLUX_ENDS}.items()}
_BLOCK = re.compile(r"(double_blocks|single_blocks|joint_blocks)_(\d{1,3})_(.+)")


def layers_of_flow(name: str) -> tuple[str, ...]:
    """The layers that one is in diffusers, all with underscores; none if the name is unknown."""
    if name in _ENDS:
        return (_ENDS[name],)
    block = _BLOCK.fullmatch(name)
    if block is None:
        return ()
    new, names = _INSIDE[block[1]]
    return tuple(f"{new}_{int(block[2])}_{layer}" for layer in names.get(block[3], ()))


def is_turned(name: str, shape: tuple[int, ...]) -> bool:
    """Whether diffusers has the halves of this layer's rows, shift and scale, the other way round.

    It does where a modulation has no more than these two: after the last block, and for the words
    in the last block of Stable Diffusion 3.
    """
    is_last = name == _flat(LAST_MODULATION)
    is_words = name.startswith("joint_blocks_") and name.endswith(
        "context_block_adaLN_modulation_1"
    )
    return is_last or (is_words and len(shape) == 2 and shape[0] == 2 * shape[1])
