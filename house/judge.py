"""The judge: a small classifier, trained on drawings, that says what a picture shows.

It answers the questions of `house.questions`, so that a generated picture is right or wrong in
words of its prompt. Its own accuracy on drawings it never saw is the ceiling of every figure it
gives, and is printed with them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from typing_extensions import override

from house.questions import QUESTIONS
from house.recipe import JUDGE

_WIDTHS = (24, 48, 80, 112)


class Judge(nn.Module):
    """Pictures `[n, 3, h, w]` of -1 to 1, read at 96 × 96, to one row of scores per question."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for wider in _WIDTHS:
            layers += [_convolution(width, wider, 2), _convolution(wider, wider, 1)]
            width = wider
        self.features = nn.Sequential(*layers, _convolution(width, width, 1))
        # Where things stand matters (left, right, size): the map of 6 × 6 is kept, not averaged
        # away.
        self.summary = nn.Sequential(
            nn.Conv2d(width, 24, 1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 36, 192), nn.ReLU()
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(192 + width, len(answers)) for name, answers in QUESTIONS.items()}
        )

    @override
    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = self.look(pictures)
        return {name: head(seen) for name, head in self.heads.items()}

    def look(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the answers are read from `[n, width]`: like things look alike."""
        small = F.interpolate(
            pictures, (96, 96), mode="area" if pictures.shape[-1] >= 96 else "bilinear"
        )
        features = self.features(small)
        return torch.cat([self.summary(features), features.amax((2, 3))], 1)

    @torch.inference_mode()
    def answers(self, pictures: torch.Tensor) -> dict[str, list[str]]:
        """The likeliest answer to each question, picture by picture."""
        scores = [self(batch) for batch in torch.split(pictures, 100)]
        return {
            name: [choices[int(row)] for part in scores for row in part[name].argmax(1)]
            for name, choices in QUESTIONS.items()
        }


def load_judge(path: Path = JUDGE) -> Judge:
    """The judge as it was trained, ready to answer."""
    judge = Judge()
    judge.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return judge.eval()


def worsened(pictures: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """The pictures, some of them blurred, all a little noisy, as a decoder leaves them."""
    side = pictures.shape[-1]
    small = F.interpolate(pictures, scale_factor=float(random.uniform(0.4, 0.8)), mode="area")
    blurred = F.interpolate(small, (side, side), mode="bilinear")
    some = torch.from_numpy(random.random((len(pictures), 1, 1, 1), dtype=np.float32))
    strength = torch.from_numpy(random.random((len(pictures), 1, 1, 1), dtype=np.float32))
    noise = torch.from_numpy(random.standard_normal(pictures.shape, dtype=np.float32))
    return (torch.where(some < 0.4, blurred, pictures) + 0.06 * strength * noise).clamp(-1, 1)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
