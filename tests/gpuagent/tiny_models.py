"""Tiny models with random weights: the true classes and folders as they are published.

Only sizes are small. The tokenizers are made here, too: nothing is fetched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpuagent.protocol.taxonomy import Architecture

from .support import HOUSE

T5_WORDS = ("a", "red", "blue", "green", "mug", "car", "on", "in", "beach", "snow", "with", "very")


def save_sdxl(folder: Path, *, is_refiner: bool = False, in_channels: int = 4) -> None:
    """Stable Diffusion XL, or its refiner."""
    import torch
    from diffusers import EulerDiscreteScheduler, UNet2DConditionModel

    torch.manual_seed(1 if is_refiner else 0)
    encoders = ("_2",) if is_refiner else ("", "_2")
    UNet2DConditionModel(
        in_channels=in_channels,
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=32 * len(encoders),
        attention_head_dim=8,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * (5 if is_refiner else 6) + 24,
    ).save_pretrained(folder / "unet")
    save_vae(folder / "vae", channels=4, scaling_factor=0.13025)
    for suffix in encoders:
        save_clip(folder, suffix, projection=24 if suffix else None)
    EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    name = "StableDiffusionXLImg2ImgPipeline" if is_refiner else "StableDiffusionXLPipeline"
    aesthetics = {"requires_aesthetics_score": True} if is_refiner else {}
    zeros = {"force_zeros_for_empty_prompt": not is_refiner}
    save_index(folder, {"_class_name": name, **aesthetics, **zeros})


def save_sd3(folder: Path, *, has_t5: bool = True) -> None:
    """Stable Diffusion 3, with or without T5."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    torch.manual_seed(0)
    SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=72,
        pooled_projection_dim=48,
        pos_embed_max_size=16,
    ).save_pretrained(folder / "transformer")
    save_vae(folder / "vae", channels=16, scaling_factor=1.5305, shift_factor=0.0609)
    for suffix in ("", "_2"):
        save_clip(folder, suffix, projection=24)
    if has_t5:
        save_t5(folder, "_3", width=72)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    save_index(folder, {"_class_name": "StableDiffusion3Pipeline"})


def save_flux(folder: Path, *, is_dev: bool = True) -> None:
    """Flux, dev or schnell."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    torch.manual_seed(0)
    FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=is_dev,
        axes_dims_rope=(4, 4, 8),
    ).save_pretrained(folder / "transformer")
    save_vae(folder / "vae", channels=16, scaling_factor=0.3611, shift_factor=0.1159)
    save_clip(folder, "", projection=None)
    save_t5(folder, "_2", width=32)
    shift: dict[str, Any] = {"shift": 1.0}
    if is_dev:
        shift = {"shift": 3.0, "use_dynamic_shifting": True}
    FlowMatchEulerDiscreteScheduler(**shift).save_pretrained(folder / "scheduler")
    save_index(folder, {"_class_name": "FluxPipeline"})


FAMILIES: Mapping[str, tuple[Architecture, Callable[[Path], None]]] = MappingProxyType(
    {
        "sdxl": (Architecture.SDXL, save_sdxl),
        "sd3": (Architecture.SD3, save_sd3),
        "sd3 without T5": (Architecture.SD3, lambda folder: save_sd3(folder, has_t5=False)),
        "flux dev": (Architecture.FLUX, save_flux),
        "flux schnell": (Architecture.FLUX, lambda folder: save_flux(folder, is_dev=False)),
    }
)


def save_vae(
    folder: Path, *, channels: int, scaling_factor: float, shift_factor: float | None = None
) -> None:
    """A VAE of eight pixels to a latent."""
    from diffusers import AutoencoderKL

    AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=8,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    ).save_pretrained(folder)


def save_clip(folder: Path, suffix: str, *, projection: int | None) -> None:
    """A CLIP text encoder, with a projection of its own if it has one, and its tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=974,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=projection or 32,
        bos_token_id=972,
        eos_token_id=973,
        pad_token_id=973,
    )
    model = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    model(config).save_pretrained(folder / f"text_encoder{suffix}")
    shutil.copytree(HOUSE / "tokenizer", folder / f"tokenizer{suffix}")


def save_t5(folder: Path, suffix: str, *, width: int) -> None:
    """A T5 encoder and its tokenizer: a handful of words, and every letter."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -3.0) for word in T5_WORDS]
    pieces += [(letter, -8.0) for letter in letters]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(folder / f"tokenizer{suffix}")
    config = T5Config(
        vocab_size=len(pieces), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    T5EncoderModel(config).save_pretrained(folder / f"text_encoder{suffix}")


def save_ip_adapter(folder: Path, unet: Any, *, is_plus: bool = False, seed: int = 0) -> None:  # noqa: ANN401 - torch's
    """An IP-Adapter for a U-Net, named as published ones are, with its image encoder."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=24,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    width = int(unet.config.cross_attention_dim)
    shapes = _resampler(32, width) if is_plus else _projection(24, width)
    tensors = {f"image_proj.{name}": torch.randn(shape) * 0.2 for name, shape in shapes.items()}
    looking = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    for number, name in enumerate(looking):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for matrix in ("to_k_ip", "to_v_ip"):
            shape = tuple(layer.to_k.weight.shape)
            tensors[f"ip_adapter.{2 * number + 1}.{matrix}.weight"] = torch.randn(shape) * 0.2
    save_file(tensors, folder / "ip_adapter.safetensors")


def _projection(seen: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of that of a plain one."""
    norm = {"norm.weight": (width,), "norm.bias": (width,)}
    return {"proj.weight": (4 * width, seen), "proj.bias": (4 * width,), **norm}


def _resampler(seen: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the projection of a *plus* one."""
    inner, shapes = 64, dict[str, tuple[int, ...]]()
    shapes |= {"latents": (1, 6, inner), "proj_in.weight": (inner, seen), "proj_in.bias": (inner,)}
    shapes |= {"proj_out.weight": (width, inner), "proj_out.bias": (width,)}
    shapes |= {"norm_out.weight": (width,), "norm_out.bias": (width,)}
    for number in range(4):
        layer = f"layers.{number}"
        for norm in (f"{layer}.0.norm1", f"{layer}.0.norm2", f"{layer}.1.0"):
            shapes |= {f"{norm}.weight": (inner,), f"{norm}.bias": (inner,)}
        shapes |= {f"{layer}.0.to_q.weight": (64, inner), f"{layer}.0.to_kv.weight": (128, inner)}
        shapes |= {f"{layer}.0.to_out.weight": (inner, 64)}
        shapes |= {f"{layer}.1.1.weight": (4 * inner, inner)}
        shapes |= {f"{layer}.1.3.weight": (inner, 4 * inner)}
    return shapes


def save_index(folder: Path, said: Mapping[str, object]) -> None:
    """What kind of folder it is."""
    (folder / "model_index.json").write_text(json.dumps(said))
