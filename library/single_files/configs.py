"""The configurations of a model folder, written from what shapes tell and what a family always has.

A single file brings no configuration. What cannot be told from shapes (heads, the schedule of the
noise) is the same in every model of a family; that is what these tables hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from library.single_files.text import TextPlan
from library.single_files.unet import Level, UNetPlan
from library.single_files.vae import VaePlan

Config = dict[str, object]
INPAINTING_CHANNELS = 9
BOS, EOS = 49_406, 49_407
_FLOW = "FlowMatchEulerDiscreteScheduler"
# What training tools write when a model predicts velocity.
_FORETELLS, _VELOCITY = "modelspec.prediction_type", frozenset({"v", "v_prediction"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all models of a family share, and no file says."""

    pipeline: str
    inpaint_pipeline: str
    latent_side: int
    vae_scaling: float
    scheduler: str
    spacing: str
    heads: int = 0  # 0: as many as fit with 64 numbers each
    vae_shift: float | None = None


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "sd15": Family(
            pipeline="StableDiffusionPipeline",
            inpaint_pipeline="StableDiffusionInpaintPipeline",
            latent_side=64,
            vae_scaling=0.18215,
            scheduler="PNDMScheduler",
            spacing="leading",
            heads=8,
        ),
        "sdxl": Family(
            pipeline="StableDiffusionXLPipeline",
            inpaint_pipeline="StableDiffusionXLInpaintPipeline",
            latent_side=128,
            vae_scaling=0.13025,
            scheduler="EulerDiscreteScheduler",
            spacing="leading",
        ),
        "sd3": Family(
            pipeline="StableDiffusion3Pipeline",
            inpaint_pipeline="StableDiffusion3Pipeline",
            latent_side=128,
            vae_scaling=1.5305,
            vae_shift=0.0609,
            scheduler=_FLOW,
            spacing="",
        ),
        "flux": Family(
            pipeline="FluxPipeline",
            inpaint_pipeline="FluxPipeline",
            latent_side=128,
            vae_scaling=0.3611,
            vae_shift=0.1159,
            scheduler=_FLOW,
            spacing="",
        ),
    }
)
# What shares the noise out over the steps: of Stable Diffusion 3, of Flux dev, of schnell.
_SD3_SHIFT: Config = {"shift": 3.0}
_DEV_SHIFT: Config = {
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
_SCHNELL_SHIFT: Config = {"shift": 1.0, "use_dynamic_shifting": False}


def unet_config(plan: UNetPlan, family: Family) -> Config:
    """Of `unet/`."""
    has_attention = [level.depth > 0 for level in plan.levels]
    depths = [max(1, level.depth) for level in plan.levels]
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": _heads(plan.levels, family),
        "block_out_channels": [level.channels for level in plan.levels],
        "cross_attention_dim": plan.context,
        "down_block_types": [
            "CrossAttnDownBlock2D" if has else "DownBlock2D" for has in has_attention
        ],
        "up_block_types": [
            "CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(has_attention)
        ],
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": plan.in_channels,
        "layers_per_block": plan.levels[0].layers,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "out_channels": plan.out_channels,
        "sample_size": family.latent_side,
    }
    if plan.added:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": plan.added,
            "transformer_layers_per_block": depths,
            "use_linear_projection": True,
        }
    return config


def _heads(levels: tuple[Level, ...], family: Family) -> object:
    """The number of heads, which diffusers calls their size."""
    return family.heads or [max(1, level.channels // 64) for level in levels]


def vae_config(plan: VaePlan, family: Family) -> Config:
    """Of `vae/`."""
    levels = len(plan.channels)
    config: Config = {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(plan.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": plan.latent_channels,
        "layers_per_block": plan.layers,
        "norm_num_groups": 32,
        "sample_size": family.latent_side * 2 ** (levels - 1),
        "scaling_factor": family.vae_scaling,
    }
    if family.vae_shift is not None:
        config |= {
            "shift_factor": family.vae_shift,
            "force_upcast": True,
            "use_quant_conv": plan.has_quant,
            "use_post_quant_conv": plan.has_quant,
        }
    return config


def text_config(plan: TextPlan, *, is_open: bool | None = None) -> Config:
    """Of `text_encoder/` and `text_encoder_2/`. OpenCLIP's has a projection, unless it is said."""
    is_open = plan.projection > 0 if is_open is None else is_open
    return {
        "architectures": ["CLIPTextModelWithProjection" if plan.projection else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": plan.words,
        "hidden_size": plan.width,
        "intermediate_size": plan.inner,
        "num_hidden_layers": plan.layers,
        "num_attention_heads": max(1, plan.width // 64),
        "max_position_embeddings": plan.positions,
        "hidden_act": "gelu" if is_open else "quick_gelu",
        "layer_norm_eps": 1e-05,
        "projection_dim": plan.projection or plan.width,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
    }


def scheduler_config(family: Family, said: Mapping[str, str]) -> Config:
    """Of `scheduler/`: the schedule that all these families were trained with."""
    is_velocity = said.get(_FORETELLS, "").strip().lower() in _VELOCITY
    return {
        "_class_name": family.scheduler,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1_000,
        "prediction_type": "v_prediction" if is_velocity else "epsilon",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "clip_sample": False,
        "steps_offset": 1,
        "timestep_spacing": family.spacing,
    }


def tokenizer_config(*, pad: str = "<|endoftext|>") -> Config:
    """Of `tokenizer/` and `tokenizer_2/`, which pads with another word."""
    return {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad,
        "model_max_length": 77,
    }


def model_index(family: Family, plan: UNetPlan) -> Config:
    """Of the folder itself."""
    is_inpainting = plan.in_channels == INPAINTING_CHANNELS
    index: Config = {
        "_class_name": family.inpaint_pipeline if is_inpainting else family.pipeline,
        "scheduler": ["diffusers", family.scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if plan.added:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "force_zeros_for_empty_prompt": True,
        }
    return index


def flow_configs(family_name: str, *, is_guided: bool) -> dict[str, Config]:
    """Of a folder of Stable Diffusion 3 or Flux, and of its `scheduler/`."""
    family = FAMILIES[family_name]
    shift = _SD3_SHIFT
    if family_name != "sd3":
        shift = _DEV_SHIFT if is_guided else _SCHNELL_SHIFT
    return {
        "model_index.json": {"_class_name": family.pipeline},
        "scheduler/scheduler_config.json": {
            "_class_name": family.scheduler,
            "num_train_timesteps": 1_000,
            **shift,
        },
    }
