"""A Stable Diffusion 1.x in miniature: as a folder, and as the single file it is published as.

The true classes with the true number of blocks and the true names; only the widths are small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from library.single_files import text, unet, vae
from library.single_files.pieces import Piece

CLIP = "cond_stage_model.transformer.text_model."
_LEVELS = ((32, 1), (64, 1), (64, 1), (64, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """The modules, and their tensors under the names of a single file."""

    unet: Any
    vae: Any
    text_encoder: Any
    tensors: dict[str, Any]

    def save(self, path: Path, **said: str) -> Path:
        """The single file."""
        from safetensors.torch import save_file

        save_file(self.tensors, path, metadata={"format": "pt", **said})
        return path


def make_tiny_model(*, in_channels: int = 4) -> TinyModel:
    """With random weights, the same every time."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    denoiser = UNet2DConditionModel(
        in_channels=in_channels,
        sample_size=64,
        block_out_channels=tuple(width for width, _depth in _LEVELS),
        layers_per_block=2,
        cross_attention_dim=64,
        attention_head_dim=8,
    )
    decoder = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
        sample_size=512,
    )
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49_408,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=1,
            bos_token_id=49_406,
            eos_token_id=49_407,
            pad_token_id=49_407,
        )
    )
    levels = tuple(unet.Level(channels=width, layers=2, depth=depth) for width, depth in _LEVELS)
    denoiser_plan = unet.UNetPlan(
        in_channels=in_channels, out_channels=4, context=64, levels=levels, middle_depth=1
    )
    decoder_plan = vae.VaePlan(channels=(32, 32, 64, 64), layers=2, latent_channels=4)
    encoder_plan = text.TextPlan(words=49_408, width=64, positions=77, inner=128, layers=3)
    tensors = {
        **renamed(denoiser, unet.PREFIX, unet.unet_pieces(denoiser_plan)),
        **renamed(decoder, vae.PREFIX, vae.vae_pieces(decoder_plan)),
        **renamed(encoder, CLIP, text.clip_pieces(encoder_plan)),
        # What such files hold besides, and nobody needs.
        "alphas_cumprod": torch.linspace(1, 0, 1_000),
        f"{CLIP}embeddings.position_ids": torch.arange(77)[None],
    }
    return TinyModel(unet=denoiser, vae=decoder, text_encoder=encoder, tensors=tensors)


def renamed(
    module: Any,  # noqa: ANN401  # a torch module, which has no types here
    prefix: str,
    pieces: Iterable[Piece],
) -> dict[str, Any]:
    """The module's tensors under their old names; none is left over and none is missing."""
    state = module.state_dict()
    renamed = {}
    for piece in pieces:
        tensor = state.pop(piece.new)
        is_window = "attn_1" in piece.old and tensor.ndim == 2
        renamed[prefix + piece.old] = (tensor[..., None, None] if is_window else tensor).clone()
    assert not state, f"no old name for {sorted(state)[:3]}"
    return renamed


def save_folder(model: TinyModel, folder: Path) -> Path:
    """The same model as its maker would publish it for diffusers, configurations by diffusers."""
    from diffusers import PNDMScheduler

    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    model.text_encoder.save_pretrained(folder / "text_encoder")
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    return folder
