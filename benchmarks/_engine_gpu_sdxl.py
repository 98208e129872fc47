"""SDXL on a GPU: the true classes and sizes with random weights, stock diffusers against the agent.

Written without a GPU at hand: `tests/test_engine_benchmark.py` runs it on a CPU with a tiny model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import torch

from benchmarks._engine_gpu_weights import made_quickly
from benchmarks._report import Figure, say
from gpuagent.pipelines.engine import Engine
from gpuagent.protocol.taxonomy import Architecture
from tests.gpuagent.in_process import AgentInside
from tests.gpuagent.support import FakeStudio, model_ref
from tests.gpuagent.tiny_models import save_clip, save_index

STEPS: Mapping[str, int] = MappingProxyType({"sdxl_30_s": 30, "sdxl_4_s": 4})
SIDE, ROUNDS = 1_024, 5


def measure_sdxl(
    engine: Engine,
    root: Path,
    *,
    side: int = SIDE,
    rounds: int = ROUNDS,
    steps: Mapping[str, int] = STEPS,
) -> dict[str, Figure]:
    """Seconds a picture at batch 1, both sides in turns; the model lies in `root / "sdxl"`."""
    (root / "sdxl-store").mkdir()
    studio = FakeStudio(root / "sdxl-store")
    ref = model_ref(root / "sdxl", name="SDXL", architecture=Architecture.SDXL)
    agent = AgentInside(root / "sdxl-agent", studio, engine, models_root=root)
    stock = _stock(root / "sdxl", engine)
    figures: dict[str, Figure] = {}
    errors = list[float]()

    def ours(count: int, seed: int) -> None:
        asked = {"width": side, "height": side, "num_inference_steps": count, "sampler": "euler"}
        attempt = studio.add_attempt(ref, {**asked, "prompt": f"a mug {seed}", "seed": seed})
        (end,) = agent.run([attempt])
        assert end["status"] == "succeeded", end
        took = end["timings"].get("growth_bytes")
        if took:
            errors.append(end["timings"]["planned_growth_bytes"] / took - 1)

    def theirs(count: int, seed: int) -> None:
        picture = stock(
            prompt=f"a mug {seed}",
            width=side,
            height=side,
            num_inference_steps=count,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        picture.save(root / "stock.png", compress_level=1)

    try:
        for name, count in steps.items():
            figures[name] = _seconds(ours, count, rounds)
            figures[f"stock_{name}"] = _seconds(theirs, count, rounds)
            say(f"{name}: ours {figures[name]:.3f}, stock {figures[f'stock_{name}']:.3f}")
    finally:
        agent.close()
        studio.close()
    return {**figures, "planner_error": median(errors) if errors else None}


def _seconds(make: Callable[[int, int], None], count: int, rounds: int) -> float:
    """The median; the first picture pays for first calls."""
    found = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        make(count, number)
        found.append(time.perf_counter() - began)
    return median(found[1:])


def _stock(folder: Path, engine: Engine) -> Any:  # noqa: ANN401 - diffusers has no types
    import diffusers
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    dtype, diffusers_dtype = {"dtype": engine.dtype()}, {"torch_dtype": engine.dtype()}
    encoders: dict[str, Any] = {"": CLIPTextModel, "_2": CLIPTextModelWithProjection}
    parts: dict[str, Any] = {
        "vae": diffusers.AutoencoderKL.from_pretrained(folder / "vae", **diffusers_dtype),
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **diffusers_dtype),
        "scheduler": diffusers.EulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
    }
    for suffix, loader in encoders.items():
        name = f"text_encoder{suffix}"
        parts[name] = loader.from_pretrained(folder / name, **dtype)
        tokenizer = f"tokenizer{suffix}"
        parts[tokenizer] = CLIPTokenizer.from_pretrained(folder / tokenizer)
    pipeline = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    pipeline = pipeline.to(engine.device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def true_unet() -> Any:  # noqa: ANN401 - as above
    """Of two and a half billion numbers."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def save_true_sdxl(folder: Path) -> None:
    """SDXL as it is published, but for the tokenizers (the house's) and what the weights say."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler

    made_quickly(true_unet).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=1024,
        scaling_factor=0.13025,
        force_upcast=True,
    )
    vae.half().save_pretrained(folder / "vae")
    EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    _save_encoders(folder)
    save_index(folder, {"_class_name": "StableDiffusionXLPipeline"})


def _save_encoders(folder: Path) -> None:
    """CLIP-L and OpenCLIP bigG."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    for suffix, loader, width, layers, heads in (
        ("", CLIPTextModel, 768, 12, 12),
        ("_2", CLIPTextModelWithProjection, 1280, 32, 20),
    ):
        save_clip(folder, suffix, projection=None)  # for its tokenizer
        config = CLIPTextConfig.from_pretrained(folder / f"text_encoder{suffix}")
        config.update(
            {
                "hidden_size": width,
                "intermediate_size": width * 4,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "projection_dim": width,
            }
        )
        loader(config).half().save_pretrained(folder / f"text_encoder{suffix}")
