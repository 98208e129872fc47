"""Tiny transformers of Flux and Stable Diffusion 3, and their tensors as their makers publish them.

What is several layers in diffusers is put together again by the tables that reading them goes by;
that these are right is told by diffusers' own reading of the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpuagent.protocol.flow_names import (
    FLUX_DOUBLE,
    FLUX_ENDS,
    FLUX_SINGLE,
    LAST_MODULATION,
    SD3_CONTEXT,
    SD3_ENDS,
    SD3_PICTURE,
)

Tensors = dict[str, Any]
_FLUX_NORMS = {
    "img_attn.norm.query_norm.scale": "attn.norm_q",
    "img_attn.norm.key_norm.scale": "attn.norm_k",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k",
}
_SD3_NORMS = {
    "x_block.attn.ln_q.weight": "attn.norm_q",
    "x_block.attn.ln_k.weight": "attn.norm_k",
    "context_block.attn.ln_q.weight": "attn.norm_added_q",
    "context_block.attn.ln_k.weight": "attn.norm_added_k",
    "x_block.attn2.ln_q.weight": "attn2.norm_q",
    "x_block.attn2.ln_k.weight": "attn2.norm_k",
}


def make_flux(*, is_dev: bool = True) -> Any:  # noqa: ANN401  # a torch module
    """A transformer of Flux whose heads are as wide as in the published ones."""
    import torch
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=is_dev,
    )


def make_sd3(*, is_newer: bool = True) -> Any:  # noqa: ANN401  # a torch module
    """A transformer of Stable Diffusion 3, or of 3.5 with its norms and second attention."""
    import torch
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    newer: dict[str, Any] = {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        caption_projection_dim=128,
        joint_attention_dim=72,
        pooled_projection_dim=128,
        pos_embed_max_size=16,
        **(newer if is_newer else {}),
    )


def flux_layers() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each layer as it is published, and the ones that it is in diffusers, of two blocks a kind."""
    for block in range(2):
        for old, new in FLUX_DOUBLE.items():
            yield f"double_blocks.{block}.{old}", _in(f"transformer_blocks.{block}", new)
        for old, new in FLUX_SINGLE.items():
            yield f"single_blocks.{block}.{old}", _in(f"single_transformer_blocks.{block}", new)
    for old, name in FLUX_ENDS.items():
        yield old, (name,)


def sd3_layers() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The same of Stable Diffusion 3."""
    for block in range(2):
        for stream, names in (("x_block", SD3_PICTURE), ("context_block", SD3_CONTEXT)):
            for old, new in names.items():
                yield (
                    f"joint_blocks.{block}.{stream}.{old}",
                    _in(f"transformer_blocks.{block}", new),
                )
    for old, name in SD3_ENDS.items():
        yield old, (name,)


def _in(block: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{block}.{name}" for name in names)


def published_flux(model: Any) -> Tensors:  # noqa: ANN401  # a torch module
    """Its tensors under Black Forest Labs' names."""
    state = model.state_dict()
    made = _joined(state, flux_layers(), turned={LAST_MODULATION})
    for block in range(2):
        for old, new in _FLUX_NORMS.items():
            made[f"double_blocks.{block}.{old}"] = state.pop(
                f"transformer_blocks.{block}.{new}.weight"
            )
        for kind, name in (("query", "q"), ("key", "k")):
            new = f"single_transformer_blocks.{block}.attn.norm_{name}.weight"
            made[f"single_blocks.{block}.norm.{kind}_norm.scale"] = state.pop(new)
    assert not state, f"no old name for {sorted(state)[:3]}"
    return made


def published_sd3(model: Any) -> Tensors:  # noqa: ANN401  # a torch module
    """Its tensors under Stability's names."""
    state = model.state_dict()
    last = "joint_blocks.1.context_block.adaLN_modulation.1"
    made = _joined(state, sd3_layers(), turned={LAST_MODULATION, last})
    made["pos_embed"] = state.pop("pos_embed.pos_embed")
    for block in range(2):
        for old, new in _SD3_NORMS.items():
            name = f"transformer_blocks.{block}.{new}.weight"
            if name in state:
                made[f"joint_blocks.{block}.{old}"] = state.pop(name)
    assert not state, f"no old name for {sorted(state)[:3]}"
    return made


def _joined(
    state: Tensors, layers: Iterator[tuple[str, tuple[str, ...]]], *, turned: set[str]
) -> Tensors:
    import torch

    made: Tensors = {}
    for old, new in layers:
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{name}.{kind}") for name in new if f"{name}.{kind}" in state]
            if not parts:
                continue
            assert len(parts) == len(new), old
            whole = torch.cat(parts)
            if old in turned:
                whole = torch.cat(whole.chunk(2)[::-1])
            made[f"{old}.{kind}"] = whole
    return made
