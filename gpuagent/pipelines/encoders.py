"""Reading prompts with several text encoders: CLIP's later layers, and T5.

T5 reads `length` tokens at once: the prompt's and an end, filled up. A longer prompt is cut into
windows of that length, as for CLIP, so nothing is cut off silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpuagent.pipelines.adapters import Words
from gpuagent.pipelines.prompts import Token, check_skip, clip_windows, encode_clip, weighted
from gpuagent.pipelines.weighting import parse_weights

if TYPE_CHECKING:
    import torch

Clip = tuple[Any, Any]  # a tokenizer and its encoder


def read_clips(
    clips: Sequence[Clip], texts: Sequence[str], words: Words, *, clip_skip: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each text: what the encoders' last layers but one say, side by side in width, and what
    the projections of those that have one make of its first window.

    Raises:
        AttemptFailedError: clip skip leaves nothing of an encoder.
    """
    import torch

    windows = {
        (number, text): clip_windows(tokenizer, text, words)
        for number, (tokenizer, _encoder) in enumerate(clips)
        for text in texts
    }
    count = max(len(found) for found in windows.values())
    read = []
    for text in texts:
        parts = [
            _read_clip(clip, windows[number, text], count, clip_skip)
            for number, clip in enumerate(clips)
        ]
        pooled = [whole for _states, whole in parts if whole.ndim == 2]
        states = torch.cat([states for states, _whole in parts], dim=-1)
        read.append((states, torch.cat(pooled, dim=-1)))
    return read


def _read_clip(
    clip: Clip, windows: list[list[Token]], count: int, clip_skip: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The states, and the encoder's first answer to the first window: an encoder without a
    projection gives its last states there.
    """
    tokenizer, encoder = clip
    check_skip(encoder, clip_skip, least=2)
    wholes: list[torch.Tensor] = []

    def read(tokens: torch.Tensor) -> torch.Tensor:
        said = encoder(tokens, output_hidden_states=True)
        wholes.append(said[0])
        states: torch.Tensor = said.hidden_states[-(clip_skip + 2)]
        return states

    return encode_clip(tokenizer, encoder, windows, count, read), wholes[0]


def pool_clip(clip: Clip, text: str) -> torch.Tensor:
    """What CLIP says of a text as a whole; of a long one, of its first window."""
    tokenizer, encoder = clip
    wholes: list[torch.Tensor] = []

    def read(tokens: torch.Tensor) -> torch.Tensor:
        said = encoder(tokens)
        wholes.append(said.pooler_output)
        states: torch.Tensor = said[0]
        return states

    encode_clip(tokenizer, encoder, clip_windows(tokenizer, text, Words(rows={}))[:1], 1, read)
    return wholes[0]


def read_t5(tokenizer: Any, encoder: Any, texts: Sequence[str], *, length: int) -> list[Any]:  # noqa: ANN401 - no types
    """For each text what T5 says of its tokens; all texts get equally many windows."""
    import torch

    cut = [_t5_windows(tokenizer, text, length - 1) for text in texts]
    count = max(map(len, cut))

    def read(window: list[tuple[int, float]]) -> torch.Tensor:
        row = [*(number for number, _weight in window), tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (length - len(row))
        states: torch.Tensor = encoder(torch.tensor([row], device=encoder.device))[0]
        if any(weight != 1.0 for _number, weight in window):
            return weighted(states, read([]), [weight for _number, weight in window], first=0)
        return states

    return [
        torch.cat([read(window) for window in windows + [[]] * (count - len(windows))], dim=1)
        for windows in cut
    ]


def _t5_windows(tokenizer: Any, text: str, size: int) -> list[list[tuple[int, float]]]:  # noqa: ANN401 - no types
    tokens: list[tuple[int, float]] = []
    for piece in parse_weights(text):
        ids = tokenizer(piece.text, add_special_tokens=False, verbose=False).input_ids
        tokens += [(number, piece.weight) for number in ids]
    return [tokens[start : start + size] for start in range(0, len(tokens), size)] or [[]]
