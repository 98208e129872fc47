"""The names that Stable Diffusion XL's first code gave to the layers of its U-Net. Pure.

Most LoRAs for it say them, as kohya's tools write them: dots are underscores, and blocks are
numbered through. A block has two layers, and then a way down or up.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"(input|output)_blocks_(\d+)_(\d+)_(.+)")
_MIDDLE = re.compile(r"middle_block_(\d)_(.+)")
_MIDDLES = ("resnets_0", "attentions_0", "resnets_1")
_LAYERS = 2
_ENDS = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}
_INSIDE = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}


def as_diffusers(name: str) -> str:
    """The same layer as diffusers calls it, dots as underscores; other names as they are."""
    if name in _ENDS:
        return _ENDS[name]
    middle = _MIDDLE.fullmatch(name)
    if middle is not None and int(middle[1]) < len(_MIDDLES):
        return f"mid_block_{_MIDDLES[int(middle[1])]}_{_inside(middle[2])}"
    block = _BLOCK.fullmatch(name)
    if block is None:
        return name
    way, number, part, rest = block[1], int(block[2]), int(block[3]), block[4]
    if way == "input":
        return _down(number - 1, part, rest)
    return _up(number, part, rest)


def _down(number: int, part: int, rest: str) -> str:
    block, layer = divmod(number, _LAYERS + 1)
    if layer == _LAYERS:
        return f"down_blocks_{block}_downsamplers_0_conv"
    kind = "attentions" if part else "resnets"
    return f"down_blocks_{block}_{kind}_{layer}_{_inside(rest)}"


def _up(number: int, part: int, rest: str) -> str:
    block, layer = divmod(number, _LAYERS + 1)
    if rest == "conv":
        return f"up_blocks_{block}_upsamplers_0_conv"
    kind = "attentions" if part else "resnets"
    return f"up_blocks_{block}_{kind}_{layer}_{_inside(rest)}"


def _inside(rest: str) -> str:
    return _INSIDE.get(rest, rest)
