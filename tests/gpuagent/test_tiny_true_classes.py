"""A tiny Stable Diffusion 1.x with random weights: the true classes with the true options.

The house model pools text in its U-Net, predicts velocity and has a small VAE; SD 1.5 does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS

from .support import HOUSE

RECIPE = Recipe(
    model="a" * 64, prompt="a mug", num_inference_steps=3, width=64, height=64, clip_skip=1
)


def save_tiny(folder: Path, *, in_channels: int = 4) -> None:
    """A model folder as SD 1.5 is published, in miniature; only the tokenizer is the house's."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        in_channels=in_channels,
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
    ).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=974,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            bos_token_id=972,
            eos_token_id=973,
            pad_token_id=973,
        )
    ).save_pretrained(folder / "text_encoder")
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    shutil.copytree(HOUSE / "tokenizer", folder / "tokenizer")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """Such a folder."""
    assert engine.threads == 1
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path, engine: Engine) -> StableDiffusion15:
    """It, loaded."""
    return StableDiffusion15(tiny_folder, engine)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tiny_model_makes_the_same_finite_picture_twice(
    tiny: StableDiffusion15, sampler: str
) -> None:
    from dataclasses import replace

    recipe = replace(RECIPE, sampler=sampler)
    steps: list[int] = []
    watch = Watch(step=lambda done, _of, peek: steps.append(done) or peek())  # type: ignore[func-returns-value, arg-type]  # both
    made = [tiny.denoise(recipe, 0, tiny.encode_prompts(recipe), watch=watch) for _ in range(2)]
    assert bool(made[0].isfinite().all())
    assert made[0].equal(made[1])
    assert steps == [1, 2, 3] * 2
    assert tiny.decode(made[0]).shape == (64, 64, 3)


def test_scaling_factor_of_the_vae_is_kept_through_a_round_trip(tiny: StableDiffusion15) -> None:
    assert tiny._vae.config.scaling_factor == pytest.approx(0.18215)
    latents = tiny._to_latents(np.full((1, 3, 64, 64), 0.5, np.float32))
    assert latents.shape == (1, 4, 8, 8)


def test_shared_parts_keep_their_type(tiny: StableDiffusion15) -> None:
    # `from_pipe` would cast shared modules; building from parts must not.
    import torch
    from PIL import Image

    tiny._unet.to(torch.float64)
    try:
        start = tiny.take_in(Image.new("RGB", (64, 64)))
        assert start.posterior is not None
        tiny._pipeline("img2img", tiny._pipeline("txt2img", None).scheduler)
        assert tiny._unet.dtype == torch.float64
        assert tiny._vae.dtype == torch.float32
    finally:
        tiny._unet.to(torch.float32)


def test_weights_in_pickles_are_not_loaded(
    tiny_folder: Path, engine: Engine, tmp_path: Path
) -> None:
    import torch

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        StableDiffusion15(folder, engine)
