"""The questions that a caption answers, and that a picture answers again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from house.drawing.specs import BACKGROUNDS, COLOURS, KINDS, PLACES, SIZES, STYLES, Spec

NONE = "none"
QUESTIONS: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "colour": COLOURS,
    "second kind": (NONE, *KINDS),
    "second colour": (NONE, *COLOURS),
    "background": BACKGROUNDS,
    "style": STYLES,
    "size": SIZES,
    "place": PLACES,
}


def answers(spec: Spec) -> dict[str, str]:
    """What the picture shows, question by question."""
    first, second = spec.items[0], spec.items[1] if len(spec.items) == 2 else None
    return {
        "kind": first.kind,
        "colour": first.colour,
        "second kind": second.kind if second else NONE,
        "second colour": second.colour if second else NONE,
        "background": spec.background,
        "style": spec.style,
        "size": spec.size,
        "place": spec.place,
    }


def answer_numbers(specs: Sequence[Spec]) -> dict[str, torch.Tensor]:
    """The answers as class numbers `[n]`, question by question."""
    rows = [answers(spec) for spec in specs]
    return {
        question: torch.tensor([choices.index(row[question]) for row in rows])
        for question, choices in QUESTIONS.items()
    }


def reading_loss(read: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross entropy over the questions."""
    return torch.stack([F.cross_entropy(read[name].float(), truth[name]) for name in read]).mean()
