"""The text encoder, first alone: it learns to tell from a caption what the picture shows.

A U-Net of this size heeds words only once the encoder already sets them apart, so this comes before
it.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer
from typing_extensions import override

from house.questions import QUESTIONS


class Reader(nn.Module):
    """Reads the answers from the mean of the encoder's hidden states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(choices)) for name, choices in QUESTIONS.items()}
        )

    @override
    def forward(self, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = hidden.mean(1)
        return {name: head(mean) for name, head in self.heads.items()}


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token numbers `[n, 77]` as a pipeline makes them."""
    encoded = tokenizer(
        captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    ids: torch.Tensor = encoded.input_ids
    return ids


def hidden_states(text: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """The encoder's last hidden states `[n, 77, width]`."""
    hidden: torch.Tensor = text(ids)[0]
    return hidden
