"""`python -m house.train STAGE`: trains a part of the house model.

Stop it at any time; started again, it goes on. Everything stays in the folder of the work until
`release` copies it into the repository.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Models come from folders here; nothing is ever asked for elsewhere.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from house.assemble import assemble
from house.recipe import ADAPTERS, JUDGE, MODEL, Work, read_recipe
from house.training import stages
from house.training.autoencoder import train_autoencoder
from house.training.control import train_canny
from house.training.cutter import train_cutter
from house.training.fewstep import train_fast
from house.training.inversion import train_teal
from house.training.judging import train_judge
from house.training.likeness import train_likeness
from house.training.lora import train_neon


@dataclass(frozen=True)
class Stage:
    """A command, and the stages whose results it needs."""

    run: Callable[[Work], object]
    needs: tuple[str, ...] = ()


def release(work: Work) -> None:
    """Copy what was trained into the repository, in place of what is there."""
    for made, home in ((work.model, MODEL), (work.adapters, ADAPTERS)):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(made, home)
    shutil.copyfile(work.judge, JUDGE)


STAGES: dict[str, Stage] = {
    "data": Stage(stages.draw_data),
    "autoencoder": Stage(train_autoencoder, ("data",)),
    "text": Stage(stages.read_captions),
    "denoiser": Stage(stages.train_denoiser, ("data", "autoencoder", "text")),
    "assemble": Stage(assemble, ("autoencoder", "text", "denoiser")),
    "judge": Stage(train_judge, ("data",)),
    "canny": Stage(train_canny, ("data", "assemble")),
    "fast": Stage(train_fast, ("data", "assemble")),
    "neon": Stage(train_neon, ("data", "assemble")),
    "teal": Stage(train_teal, ("assemble",)),
    "cutout": Stage(train_cutter),
    "likeness": Stage(train_likeness, ("assemble",)),
    "release": Stage(
        release,
        ("assemble", "judge", "canny", "fast", "neon", "teal", "cutout", "likeness"),
    ),
}
# What a stage leaves in the folder of the work.
_LEFT = {
    "data": "data/recipe.json",
    "autoencoder": "vae/config.json",
    "text": "text_read/config.json",
    "denoiser": "unet/checkpoint.pt",
    "assemble": "model/model_index.json",
    "judge": "judge.safetensors",
    "canny": "adapters/canny/config.json",
    "fast": "adapters/fast/pytorch_lora_weights.safetensors",
    "neon": "adapters/neon/pytorch_lora_weights.safetensors",
    "teal": "adapters/teal/learned_embeds.safetensors",
    "cutout": "adapters/cutout/cutout.safetensors",
    "likeness": "adapters/likeness/ip_adapter.safetensors",
}


def missing(work: Work, stage: str) -> list[str]:
    """The stages that must run before this one."""
    return [name for name in STAGES[stage].needs if not (work.folder / _LEFT[name]).exists()]


def main(arguments: list[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(prog="python -m house.train", description=__doc__)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--work", type=Path, default=Path(".state/house"))
    parser.add_argument("--threads", type=int, default=0, help="processor threads (default: all)")
    asked = parser.parse_args(arguments)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    work = read_recipe(asked.work)
    if before := missing(work, asked.stage):
        raise SystemExit(f"{asked.stage} needs what {', '.join(before)} makes: run that first.")
    STAGES[asked.stage].run(work)


if __name__ == "__main__":
    main()
