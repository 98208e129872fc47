"""`python -m house.train STAGE`: trains a part of the house model.

Stop it at any time; started again, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from house.assemble import assemble
from house.recipe import Work, read_recipe
from house.training import stages
from house.training.autoencoder import train_autoencoder
from house.training.control import train_canny
from house.training.fewstep import train_fast
from house.training.inversion import train_teal
from house.training.judging import train_judge
from house.training.lora import train_neon

STAGES: dict[str, Callable[[Work], object]] = {
    "data": stages.draw_data,
    "autoencoder": train_autoencoder,
    "text": stages.read_captions,
    "denoiser": stages.train_denoiser,
    "assemble": assemble,
    "judge": train_judge,
    "canny": train_canny,
    "fast": train_fast,
    "neon": train_neon,
    "teal": train_teal,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m house.train", description=__doc__)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument(
        "--work", type=Path, default=Path(".state/house"), help="folder for data and checkpoints"
    )
    parser.add_argument("--threads", type=int, default=0, help="processor threads (default: all)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    STAGES[arguments.stage](read_recipe(arguments.work))


if __name__ == "__main__":
    main()
