"""Trains the judge on drawings, many of them blurred and noisy as a decoder leaves them."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import save_file

from house import dataset
from house.evaluation import as_input
from house.judge import Judge, worsened
from house.questions import answer_numbers, reading_loss
from house.recipe import Work
from house.training.loop import Plan, Run, fast_math


def train_judge(work: Work) -> None:
    """Train the judge and keep it; prints what share of held-out drawings it reads right."""
    plan = work.recipe["judge"]
    drawings = dataset.load(work.data, work.recipe["data"]["held_out"])
    truth = answer_numbers(drawings.specs)
    torch.manual_seed(2)
    judge = Judge()
    schedule = Plan(plan["steps"], decay=0.6, average=0.998)
    run = Run(
        work.run("judge"), {"judge": judge}, [(judge.parameters(), plan["learning_rate"])], schedule
    )
    run.resume()
    while not run.done:
        random = np.random.default_rng((3, run.step))
        rows = drawings.some(random, plan["batch"])
        pictures = as_input(drawings.pictures[rows])
        with fast_math():
            scores = judge(worsened(pictures, random))
        run.learn(
            reading_loss(scores, {name: numbers[rows] for name, numbers in truth.items()}),
            plan["batch"],
        )
    run.save()
    run.averaged()
    _settle(judge, drawings, plan["batch"])
    save_file(
        {name: value.half().contiguous() for name, value in judge.state_dict().items()}, work.judge
    )
    for name, share in accuracy(judge, drawings).items():
        print(f"held-out drawings, {name}: {share:.4f}", flush=True)


@torch.no_grad()
def _settle(judge: Judge, drawings: dataset.Dataset, batch: int, batches: int = 100) -> None:
    """Measure anew what batch normalization divides by: it was of the weights not averaged."""
    norms = [part for part in judge.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    judge.train()
    for number in range(batches):
        random = np.random.default_rng((4, number))
        judge(worsened(as_input(drawings.pictures[drawings.some(random, batch)]), random))
    judge.eval()


def accuracy(judge: Judge, drawings: dataset.Dataset) -> dict[str, float]:
    """The share of held-out drawings that the judge reads right, question by question."""
    held = slice(drawings.trained, len(drawings.specs))
    truth = answer_numbers(drawings.specs[held])
    with torch.inference_mode():
        parts = [judge(batch) for batch in torch.split(as_input(drawings.pictures[held]), 100)]
    return {
        name: (torch.cat([part[name] for part in parts]).argmax(1) == numbers).float().mean().item()
        for name, numbers in truth.items()
    }
