"""SD 1.5 on a GPU: true classes and sizes with random weights, stock diffusers against the agent.

Written without a GPU at hand: `tests/test_engine_benchmark.py` runs it on a CPU with a tiny model.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks._report import Figure, say
from gpuagent.pipelines.engine import Engine
from gpuagent.protocol.messages import ModelRef
from house.recipe import MODEL
from launcher.layout import REPOSITORY
from tests.gpuagent.in_process import AgentInside
from tests.gpuagent.support import FakeStudio, model_ref

BATCHES = (1, 4, 8)
SIDE, STEPS, ROUNDS = 512, 20, 3


def measure(
    engine: Engine, root: Path, *, side: int = SIDE, steps: int = STEPS, rounds: int = ROUNDS
) -> dict[str, Figure]:
    """Pictures a second at each batch, both sides in turns."""
    (root / "store").mkdir()
    studio = FakeStudio(root / "store")
    ref = model_ref(root / "sd15")
    figures: dict[str, Figure] = {}
    recipe = {"width": side, "height": side, "num_inference_steps": steps, "sampler": "dpmpp_2m"}
    try:
        stock = _Stock(root / "sd15", engine)
        for batch in BATCHES:
            agent = AgentInside(
                root / f"agent-{batch}", studio, engine, models_root=root, batch=batch
            )
            count, ours, theirs = 2 * batch + 1, list[float](), list[float]()
            for number in range(rounds + 1):
                mine = _seconds(agent, ref, recipe, count, number)
                its = stock.seconds(recipe, count, batch)
                if number:  # the first pays for first calls
                    ours.append(count / mine)
                    theirs.append(count / its)
            agent.close()
            figures[f"sd15_batch{batch}_per_s"] = median(ours)
            figures[f"stock_sd15_batch{batch}_per_s"] = median(theirs)
            say(f"batch {batch}: ours {median(ours):.2f}, stock {median(theirs):.2f} pictures/s")
        del stock
        return figures
    finally:
        studio.close()


def _seconds(
    agent: AgentInside, ref: ModelRef, recipe: dict[str, object], count: int, number: int
) -> float:
    """The first waits for nobody and is made alone, the others in batches: so does the stock."""
    attempts = [
        agent.studio.add_attempt(
            ref, {**recipe, "prompt": f"a mug {number} {i}", "seed": i}, may_batch=agent.batch > 1
        )
        for i in range(count)
    ]
    began = time.perf_counter()
    ends = agent.run(attempts)
    assert all(end["status"] == "succeeded" for end in ends), ends
    return time.perf_counter() - began


class _Stock:
    """A plain pipeline, as its documentation has it."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        import diffusers
        from transformers import CLIPTextModel, CLIPTokenizer

        self._folder = folder.parent
        dtype: Any = {"torch_dtype": engine.dtype(), "local_files_only": True}
        text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=engine.dtype())
        scheduler = diffusers.DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
        self._pipeline: Any = diffusers.StableDiffusionPipeline(
            vae=diffusers.AutoencoderKL.from_pretrained(folder / "vae", **dtype),
            unet=diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **dtype),
            text_encoder=text,
            tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).to(engine.device)
        self._pipeline.set_progress_bar_config(disable=True)

    def seconds(self, recipe: dict[str, Any], count: int, batch: int) -> float:
        """One alone, then batches; each saved as PNG."""
        began = time.perf_counter()
        for size in [1] + [batch] * ((count - 1) // batch):
            pictures = self._pipeline(
                prompt=[f"a mug {i}" for i in range(size)],
                width=recipe["width"],
                height=recipe["height"],
                num_inference_steps=recipe["num_inference_steps"],
                guidance_scale=5.0,
                generator=[torch.Generator("cpu").manual_seed(i) for i in range(size)],
            ).images
            for i, picture in enumerate(pictures):
                picture.save(self._folder / f"stock-{i}.png", compress_level=1)
        return time.perf_counter() - began


def save_true_sd15(folder: Path) -> None:
    """SD 1.5 as it is published, but for the tokenizer (the house's) and what the weights say."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=768,
        attention_head_dim=8,
        block_out_channels=(320, 640, 1280, 1280),
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    tokens = {"bos_token_id": 972, "eos_token_id": 973, "pad_token_id": 973}
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        **tokens,
    )
    unet.half().save_pretrained(folder / "unet")
    vae.half().save_pretrained(folder / "vae")
    CLIPTextModel(text).half().save_pretrained(folder / "text_encoder")
    save_rest(folder)


def save_rest(folder: Path) -> None:
    """Scheduler and tokenizer."""
    from diffusers import PNDMScheduler

    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True
    ).save_pretrained(folder / "scheduler")
    shutil.copytree(REPOSITORY / MODEL / "tokenizer", folder / "tokenizer")
