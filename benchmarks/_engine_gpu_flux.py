"""Flux on a GPU: the true classes and sizes with random weights, stock diffusers against the agent.

Ours first, then the stock pipeline, so that a GPU needs room for one of them only. Written without
a GPU at hand: `tests/test_engine_benchmark.py` runs it on a CPU with a tiny model.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._engine_gpu_weights import lay_into_cache, made_quickly
from benchmarks._report import Figure, say
from gpuagent.pipelines.engine import Engine
from gpuagent.protocol.taxonomy import Architecture
from gpuagent.runner.freeing import give_back_freed
from tests.gpuagent.in_process import AgentInside
from tests.gpuagent.support import FakeStudio, model_ref
from tests.gpuagent.tiny_models import save_clip, save_index, save_t5

STEPS = {"schnell": 4, "dev": 28}
SIDE, ROUNDS = 1_024, 3


def measure_flux(
    engine: Engine, root: Path, kind: str, *, side: int = SIDE, rounds: int = ROUNDS, steps: int = 0
) -> dict[str, Figure]:
    """Seconds a picture at batch 1; the model lies in `root / "flux"`, `kind` is dev or schnell."""
    count, name = steps or STEPS[kind], f"flux_{kind}_{STEPS[kind]}_s"
    (root / f"flux-{kind}-store").mkdir()
    studio = FakeStudio(root / f"flux-{kind}-store")
    ref = model_ref(root / "flux", name="Flux", architecture=Architecture.FLUX)
    lay_into_cache(ref, root / "flux", root / f"flux-{kind}-agent" / "cache")
    errors = list[float]()
    agent = AgentInside(root / f"flux-{kind}-agent", studio, engine, models_root=root, host_bytes=0)

    def ours(seed: int) -> None:
        asked = {"width": side, "height": side, "num_inference_steps": count, "sampler": "euler"}
        guided = {"guidance_scale": 3.5, "prompt": f"a mug {seed}", "seed": seed}
        (end,) = agent.run([studio.add_attempt(ref, {**asked, **guided})])
        assert end["status"] == "succeeded", end
        took = end["timings"].get("growth_bytes")
        if took:
            errors.append(end["timings"]["planned_growth_bytes"] / took - 1)

    figures: dict[str, Figure] = {}
    try:
        figures[name] = _seconds(ours, rounds)
    finally:
        agent.models.release()
        agent.close()
        studio.close()
    gc.collect()
    give_back_freed(from_gpu=engine.has_own_memory)
    pipeline = _stock(root / "flux", engine)

    def theirs(seed: int) -> None:
        picture = pipeline(
            prompt=f"a mug {seed}",
            width=side,
            height=side,
            num_inference_steps=count,
            guidance_scale=3.5,
            max_sequence_length=512 if kind == "dev" else 256,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        picture.save(root / "stock.png", compress_level=1)

    figures[f"stock_{name}"] = _seconds(theirs, rounds)
    say(f"{name}: ours {figures[name]:.3f}, stock {figures[f'stock_{name}']:.3f}")
    return {**figures, f"flux_{kind}_planner_error": median(errors) if errors else None}


def _seconds(make: Callable[[int], None], rounds: int) -> float:
    """The median; the first picture pays for first calls."""
    found = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        make(number)
        found.append(time.perf_counter() - began)
    return median(found[1:])


def _stock(folder: Path, engine: Engine) -> Any:  # noqa: ANN401 - diffusers has no types
    import diffusers
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    chosen = engine.dtype(is_wide=True)
    said: dict[str, Any] = {"torch_dtype": chosen}
    clip: Any = CLIPTextModel
    t5: Any = T5EncoderModel
    pipeline = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae", **said),
        transformer=diffusers.FluxTransformer2DModel.from_pretrained(
            folder / "transformer", **said
        ),
        text_encoder=clip.from_pretrained(folder / "text_encoder", dtype=chosen),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder_2=t5.from_pretrained(folder / "text_encoder_2", dtype=chosen),
        tokenizer_2=T5TokenizerFast.from_pretrained(folder / "tokenizer_2"),
    ).to(engine.device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def true_transformer(*, is_dev: bool) -> Any:  # noqa: ANN401 - as above
    """Of twelve billion numbers: what the class makes if it is told nothing else."""
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(guidance_embeds=is_dev)


def true_t5() -> Any:  # noqa: ANN401 - as above
    """The encoder of T5 v1.1 XXL."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )


def save_true_flux(folder: Path, kind: str) -> None:
    """Flux as it is published, but for the tokenizers and what the weights say."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    wide, is_dev = torch.bfloat16, kind == "dev"
    save_clip(folder, "", projection=None)  # for its tokenizer, and the next for its
    save_t5(folder, "_2", width=32)
    text = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    text.update(
        {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "projection_dim": 768,
        }
    )
    CLIPTextModel(text).to(wide).save_pretrained(folder / "text_encoder")
    made_quickly(true_t5, wide).save_pretrained(folder / "text_encoder_2")
    made_quickly(lambda: true_transformer(is_dev=is_dev), wide).save_pretrained(
        folder / "transformer"
    )
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).to(wide).save_pretrained(folder / "vae")
    shift: dict[str, Any] = {"shift": 3.0, "use_dynamic_shifting": True} if is_dev else {}
    FlowMatchEulerDiscreteScheduler(**shift).save_pretrained(folder / "scheduler")
    save_index(folder, {"_class_name": "FluxPipeline"})
