"""How well the house model does what it is told, and how fast.

Pictures are judged by a classifier trained on drawings. What it makes of drawings themselves is
printed beside every figure as `ceiling_*`, and of drawings as the autoencoder gives them back as
`ceiling_decoded_*`: a figure near the latter is as good as can be told.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline

from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from house.drawing.render import draw
from house.drawing.specs import random_spec
from house.evaluation import (
    Question,
    as_input,
    ask,
    ceilings,
    figures,
    judge_pictures,
    psnr,
)
from house.judge import Judge, load_judge
from house.measure import generate
from house.recipe import ADAPTERS, MODEL

STEPS, GUIDANCE_SCALE = 20, 4.0
FEW_STEPS = 4
SEED = 2_026
DECODED = 64
TIMED = 5


def run(singles: int, pairs: int) -> dict[str, Figure]:
    """Make and judge `singles` pictures of one object and `pairs` of two."""
    before = load()
    judge = load_judge()
    pipeline = load_pipeline()
    result: dict[str, Figure] = {
        "seconds_per_picture": _seconds(pipeline, STEPS, GUIDANCE_SCALE),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "autoencoder_psnr_db": _psnr(pipeline),
    }
    asked = ask(singles, two=False, seed=SEED), ask(pairs, two=True, seed=SEED)
    result |= _follow(pipeline, judge, *asked, STEPS, GUIDANCE_SCALE)
    say(f"{STEPS} steps: {result}")
    result |= {f"ceiling_{name}": share for name, share in ceilings(judge, 300).items()}
    decoded = ceilings(judge, 100, lambda drawings: _decoded(pipeline, drawings))
    result |= {f"ceiling_decoded_{name}": share for name, share in decoded.items()}
    pipeline.load_lora_weights(str(ADAPTERS / "fast"))
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    few = _follow(pipeline, judge, *asked, FEW_STEPS, 1.0)
    result |= {f"four_step_{name}": share for name, share in few.items()}
    result["four_step_seconds"] = _seconds(pipeline, FEW_STEPS, 1.0)
    counts = {"prompts": singles, "unseen_prompts": -(-singles // 3), "pairs": pairs}
    return result | counts | {"load_before": before}


def load_pipeline() -> StableDiffusionPipeline:
    """The house model as it lies in the repository, in full precision."""
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _follow(
    pipeline: StableDiffusionPipeline,
    judge: Judge,
    singles: Sequence[Question],
    pairs: Sequence[Question],
    steps: int,
    guidance_scale: float,
) -> dict[str, float]:
    verdicts = []
    for asked in (singles, pairs):
        prompts = [question.prompt for question in asked]
        seeds = range(1_000, 1_000 + len(prompts))
        pictures = generate(pipeline, prompts, seeds, steps=steps, guidance_scale=guidance_scale)
        verdicts.append(judge_pictures(judge, [question.spec for question in asked], pictures))
    return figures(*verdicts)


def _seconds(pipeline: StableDiffusionPipeline, steps: int, guidance_scale: float) -> float:
    """The median time of one picture alone, from prompt to pixels."""
    taken = []
    for seed in range(TIMED + 1):
        began = time.monotonic()
        generate(
            pipeline,
            ["photo of a red mug on a wooden table"],
            [seed],
            steps=steps,
            guidance_scale=guidance_scale,
        )
        taken.append(time.monotonic() - began)
    return median(taken[1:])


def _psnr(pipeline: StableDiffusionPipeline) -> float:
    """How well drawings come back from latents, in decibels."""
    rng = np.random.default_rng((SEED, 1))
    drawings = as_input(np.stack([draw(random_spec(rng), rng) for _ in range(DECODED)]))
    return psnr(_decoded(pipeline, drawings), drawings)


def _decoded(pipeline: StableDiffusionPipeline, drawings: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        parts = [pipeline.vae.encode(few).latent_dist.mean for few in torch.split(drawings, 25)]
        made = [pipeline.vae.decode(latents).sample.clamp(-1, 1) for latents in parts]
    return torch.cat(made)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description=__doc__)
    parser.add_argument("--full", action="store_true", help="200 prompts instead of 48")
    full = parser.parse_args().full
    clean_up_on_signals()
    finish(run(200, 100) if full else run(48, 24))


if __name__ == "__main__":
    main()
