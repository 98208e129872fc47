"""Textual inversion: finds the embedding of one new word for what a few drawings have in common."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call
from typing_extensions import override

from house.drawing.captions import plain_caption
from house.drawing.render import Pixels
from house.drawing.specs import BACKGROUNDS, KINDS, STYLES, Item, Spec
from house.recipe import Work
from house.training.fingerprints import of_weights
from house.training.frozen import (
    drawn,
    examples,
    load_base,
    noised,
    pick_rows,
    random_for,
    velocity_loss,
)
from house.training.loop import Plan, Run, fast_math

WORD, COLOUR = "<teal>", "teal"
FILE = "learned_embeds.safetensors"


def train_teal(work: Work) -> None:
    """Find the word for a colour that the base was never shown."""
    plan, pipeline = work.recipe["teal"], load_base(work.model)
    specs, said = coloured(COLOUR, plan["pictures"]), coloured(WORD, plan["pictures"])
    word = train_word(
        pipeline,
        WORD,
        drawn(specs, plan["seed"]),
        [[plain_caption(spec)] for spec in said],
        start=plan["start"],
        steps=plan["steps"],
        batch=plan["batch"],
        learning_rate=plan["learning_rate"],
        seed=plan["seed"],
        folder=work.run("teal"),
    )
    save_word(WORD, word, work.adapters / "teal")


def coloured(colour: str, count: int) -> list[Spec]:
    """Pictures of one object in `colour`, over all kinds, backgrounds and trained styles."""
    return [
        Spec(
            (Item(KINDS[number % len(KINDS)], colour),),
            BACKGROUNDS[number * 7 % len(BACKGROUNDS)],
            STYLES[number // len(KINDS) % len(STYLES)],
        )
        for number in range(count)
    ]


class Word(nn.Module):
    """One embedding, beside a text encoder that does not learn."""

    def __init__(self, pipeline: StableDiffusionPipeline, start: list[str]) -> None:
        super().__init__()
        self._text = [pipeline.text_encoder]  # in a list, so that it is no part of this module
        table = pipeline.text_encoder.get_input_embeddings().weight
        self._name = next(
            name for name, value in pipeline.text_encoder.named_parameters() if value is table
        )
        self._table = table.detach()
        ids = pipeline.tokenizer(start, add_special_tokens=False).input_ids
        numbers = torch.tensor([number for row in ids for number in row])
        self.vector = nn.Parameter(self._table[numbers].mean(0))

    @override
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states; the number after the last known token stands for the new word."""
        table = torch.cat([self._table, self.vector[None]])
        hidden: torch.Tensor = functional_call(self._text[0], {self._name: table}, (ids,))[0]
        return hidden


def train_word(
    pipeline: StableDiffusionPipeline,
    word: str,
    pictures: Pixels,
    captions: list[list[str]],
    *,
    start: list[str],
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    folder: Path,
) -> torch.Tensor:
    """The embedding `[width]` with which `captions` that hold `word` fit `pictures` best."""
    of = of_weights(pipeline.unet)
    learner = Word(pipeline, start)
    pipeline.tokenizer.add_tokens([word])
    own = examples(pipeline, pictures, captions)
    schedule = Plan(steps, warmup=10, decay=0.5, average=0.98, muon=False)
    run = Run(folder, {"word": learner}, [(learner.parameters(), learning_rate)], schedule, of)
    run.resume()
    while not run.done:
        random = random_for(seed, run.step)
        _, clean, ids = pick_rows(own, batch, random)
        noisy, times, wanted = noised(clean, random)
        with fast_math():
            velocity = pipeline.unet(noisy, times, learner(ids)).sample
        run.learn(velocity_loss(velocity, wanted), batch)
    run.save()
    run.averaged()
    return learner.vector.detach()


def save_word(word: str, vector: torch.Tensor, folder: Path) -> None:
    """Write the embedding as `load_textual_inversion` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({word: vector.half().contiguous()}, folder / FILE)
