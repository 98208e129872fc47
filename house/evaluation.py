"""How well the house model heeds its prompts, by the judge's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from house.dataset import SIDE
from house.drawing.captions import caption
from house.drawing.render import Pixels, draw
from house.drawing.specs import Spec, random_spec
from house.judge import Judge
from house.questions import answers

# Of three prompts, one asks for an object, colour and background that training never had together.
UNSEEN_EVERY = 3
# The object asked for, and nothing beside it.
ALONE = ("kind", "second kind")
# Drawings to check the judge with; another stream than the training set's.
CEILING_SEED = 90_001


Through = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Question:
    """A picture asked for: what it is to show, and in which words."""

    spec: Spec
    prompt: str


@dataclass(frozen=True)
class Verdict:
    """What the judge saw, beside what was asked."""

    asked: dict[str, str]
    seen: dict[str, str]
    unseen: bool

    def right(self, *questions: str) -> bool:
        """Whether every one of these questions is answered as asked."""
        return all(self.asked[question] == self.seen[question] for question in questions)


def ask(count: int, *, two: bool, seed: int) -> list[Question]:
    """Random prompts, for one object or for two; a third of them unseen combinations."""
    rng = np.random.default_rng((seed, int(two)))
    specs = [random_spec(rng, unseen=n % UNSEEN_EVERY == 0, two=two) for n in range(count)]
    return [Question(spec, caption(spec, rng, complete=True)) for spec in specs]


def judge_pictures(judge: Judge, specs: Sequence[Spec], pictures: torch.Tensor) -> list[Verdict]:
    """The judge's verdicts on pictures `[n, 3, h, w]` of -1 to 1."""
    seen = judge.answers(pictures)
    return [
        Verdict(answers(spec), {name: column[n] for name, column in seen.items()}, spec.unseen)
        for n, spec in enumerate(specs)
    ]


def figures(singles: Sequence[Verdict], pairs: Sequence[Verdict]) -> dict[str, float]:
    """The shares that are right (0 to 1), under the benchmark's names.

    A picture of one object is right only with no second one in it. `size_position` counts the
    prompts that ask for a size or a place, and wants both right; `two_objects` wants both objects
    in their colours, each on its side.
    """
    asking = [v for v in singles if (v.asked["size"], v.asked["place"]) != ("normal", "center")]
    everything = (*ALONE, "colour", "background")
    unseen = [v for v in singles if v.unseen]
    return {
        "object": _share([v.right(*ALONE) for v in singles]),
        "colour": _share([v.right("colour") for v in singles]),
        "background": _share([v.right("background") for v in singles]),
        "style": _share([v.right("style") for v in singles]),
        "size_position": _share([v.right("size", "place") for v in asking]),
        "two_objects": _share(
            [v.right("kind", "colour", "second kind", "second colour") for v in pairs]
        ),
        "all_three": _share([v.right(*everything) for v in singles]),
        "all_three_unseen": _share([v.right(*everything) for v in unseen]),
    }


def ceilings(judge: Judge, count: int, through: Through = lambda same: same) -> dict[str, float]:
    """The same figures for drawings instead of generated pictures: the best the judge can say.

    `through` is what happens to the drawings before: an autoencoder's pictures are softer.
    """
    rng = np.random.default_rng(CEILING_SEED)
    verdicts: dict[bool, list[Verdict]] = {}
    for two in (False, True):
        specs = [random_spec(rng, unseen=n % UNSEEN_EVERY == 0, two=two) for n in range(count)]
        pictures = through(as_input(np.stack([draw(spec, rng, SIDE) for spec in specs])))
        verdicts[two] = judge_pictures(judge, specs, pictures)
    return figures(verdicts[False], verdicts[True])


def as_input(pictures: Pixels) -> torch.Tensor:
    """Pictures `[n, h, w, 3]` of 0 to 255 as `[n, 3, h, w]` of -1 to 1."""
    values = torch.from_numpy(pictures.astype(np.float32)) / 127.5 - 1
    return values.permute(0, 3, 1, 2).contiguous()


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    """Peak signal to noise ratio in decibels of pictures of -1 to 1."""
    return float(10 * torch.log10(4 / (first - second).square().mean()))


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))
