"""Prompts to embeddings. Long ones are read in windows, so nothing is cut off silently.

A CLIP text encoder reads 77 tokens: a start, 75 of the prompt, an end. A longer prompt is cut into
windows of 75, each encoded alone, and the results are laid side by side; prompt and negative
prompt get equally many windows.

A weighted token's embedding is moved along the line from that of an empty prompt at its place:
0 makes it say nothing, 2 twice as much. Measured with the house model, 16 seeds of "a (red:2) blue
mug": 15 are red; with the embedding itself scaled, the usual way, 1. Unweighted, none.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.adapters import Words
from gpuagent.pipelines.weighting import parse_weights
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.triggers import split_at

if TYPE_CHECKING:
    import torch

# They lie on the device, in what a plan leaves for everything else; those of T5 have megabytes.
_KEPT, _KEPT_BYTES = 64, 48 * 1024**2
_NO_WORDS = Words(rows={})


@dataclass(frozen=True, slots=True)
class Token:
    """Its number and how much it counts; `vector` stands in its place if it is of an embedding."""

    number: int
    weight: float
    vector: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """What the denoiser attends to, of shape (1, tokens, width); in some families also what a
    prompt is as a whole, of shape (1, width). A family that reads no negative prompt has the prompt
    in its place.
    """

    prompt: torch.Tensor
    negative: torch.Tensor
    pooled: torch.Tensor | None = None
    negative_pooled: torch.Tensor | None = None

    @property
    def size_bytes(self) -> int:
        """Of all that differ."""
        all_ = (self.prompt, self.negative, self.pooled, self.negative_pooled)
        different = {id(tensor): tensor for tensor in all_ if tensor is not None}
        return sum(tensor.numel() * tensor.element_size() for tensor in different.values())


def encode_prompts(
    tokenizer: Any,  # noqa: ANN401 - no types
    text_encoder: Any,  # noqa: ANN401 - no types
    recipe: Recipe,
    words: Words = _NO_WORDS,
) -> Embeddings:
    """Embeddings of the recipe's prompt and negative prompt, with these words beside the model's.

    Raises:
        AttemptFailedError: clip skip leaves nothing of this model's text encoder.
    """
    check_skip(text_encoder, recipe.clip_skip)
    prompt = clip_windows(tokenizer, recipe.prompt, words)
    negative = clip_windows(tokenizer, recipe.negative_prompt, words)
    count = max(len(prompt), len(negative))

    def read(tokens: torch.Tensor) -> torch.Tensor:
        return _hidden(text_encoder, tokens, recipe.clip_skip)

    return Embeddings(
        prompt=encode_clip(tokenizer, text_encoder, prompt, count, read),
        negative=encode_clip(tokenizer, text_encoder, negative, count, read),
    )


def check_skip(text_encoder: Any, clip_skip: int, *, least: int = 1) -> None:  # noqa: ANN401 - no types
    """Check that clip skip leaves at least so many layers.

    Raises:
        AttemptFailedError: it does not.
    """
    limit = int(text_encoder.config.num_hidden_layers) - least
    if clip_skip > limit:
        raise AttemptFailedError(
            FailureCode.RECIPE_INVALID, field="clip_skip", value=clip_skip, limit=limit
        )


def clip_windows(tokenizer: Any, text: str, words: Words) -> list[list[Token]]:  # noqa: ANN401 - no types
    """The tokens of a prompt, in as many windows as it takes."""
    size = int(tokenizer.model_max_length) - 2
    tokens: list[Token] = []
    for piece in parse_weights(text):
        for part, trigger in split_at(piece.text, words.triggers):
            if trigger is not None:
                unknown = int(tokenizer.eos_token_id)
                tokens += [Token(unknown, piece.weight, row) for row in words.rows[trigger]]
                continue
            ids = tokenizer(part, add_special_tokens=False, verbose=False).input_ids
            tokens += [Token(number, piece.weight) for number in ids]
    return [tokens[start : start + size] for start in range(0, len(tokens), size)] or [[]]


def encode_clip(
    tokenizer: Any,  # noqa: ANN401 - no types
    text_encoder: Any,  # noqa: ANN401 - no types
    windows: list[list[Token]],
    count: int,
    read: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """`count` windows side by side; `read` gives the states of a window's tokens."""
    import torch

    def encode(window: list[Token]) -> torch.Tensor:
        ids = [token.number for token in window]
        row = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (int(tokenizer.model_max_length) - len(row))
        tokens = torch.tensor([row], device=text_encoder.device)
        vectors = {at: t.vector for at, t in enumerate(window, 1) if t.vector is not None}
        with _in_place(text_encoder, vectors):
            return read(tokens)

    parts = []
    for window in windows + [[]] * (count - len(windows)):
        part = encode(window)
        if any(token.weight != 1.0 for token in window):
            part = weighted(part, encode([]), [token.weight for token in window], first=1)
        parts.append(part)
    return torch.cat(parts, dim=1)


@contextmanager
def _in_place(text_encoder: Any, vectors: Mapping[int, torch.Tensor]) -> Iterator[None]:  # noqa: ANN401 - no types
    """These vectors are read in place of what the encoder's own table has for those tokens."""
    if not vectors:
        yield
        return

    def put(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - no types
        changed = output.clone()
        for at, vector in vectors.items():
            changed[0, at] = vector.to(device=changed.device, dtype=changed.dtype)
        return changed

    handle = text_encoder.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def weighted(
    part: torch.Tensor, empty: torch.Tensor, weights: list[float], *, first: int
) -> torch.Tensor:
    """Each token moved from what an empty prompt has at its place; (1, tokens, width).

    The weights are of the tokens from `first` on.
    """
    import torch

    factors = torch.ones(part.shape[1], dtype=torch.float32, device=part.device)
    factors[first : first + len(weights)] = torch.tensor(weights, device=part.device)
    moved = empty.float() + (part.float() - empty.float()) * factors[None, :, None]
    return torch.where(factors[None, :, None] == 1.0, part, moved.to(part.dtype))


def _hidden(text_encoder: Any, tokens: torch.Tensor, clip_skip: int) -> torch.Tensor:  # noqa: ANN401 - no types
    if clip_skip == 0:
        whole: torch.Tensor = text_encoder(tokens)[0]
        return whole
    states = text_encoder(tokens, output_hidden_states=True).hidden_states
    # transformers 5 has the norm on the model itself, older ones one level down.
    norm = getattr(text_encoder, "text_model", text_encoder).final_layer_norm
    early: torch.Tensor = norm(states[-(clip_skip + 1)])
    return early


class EmbeddingCache:
    """The last embeddings made, each for one organization only. Keys hold hashes, no text."""

    def __init__(self, size: int = _KEPT, most_bytes: int = _KEPT_BYTES) -> None:
        self._size, self._most_bytes = size, most_bytes
        self._kept: OrderedDict[tuple[str, str, str], Embeddings] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(organization: str, digest: str, recipe: Recipe) -> tuple[str, str, str]:
        """Who asked, of which model, and the hash of what decides the embeddings."""
        laid = [f"{use.digest} {use.weight!r}" for use in recipe.loras] + [*recipe.embeddings]
        parts = (recipe.prompt, recipe.negative_prompt, str(recipe.clip_skip), *laid)
        seen = hashlib.sha256()
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            seen.update(len(data).to_bytes(8, "big") + data)
        return organization, digest, seen.hexdigest()

    def get(self, key: tuple[str, str, str]) -> Embeddings | None:
        """The embeddings kept under the key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, str, str], embeddings: Embeddings) -> None:
        """Keep embeddings; the least recently used ones go."""
        with self._lock:
            self._kept[key] = embeddings
            self._kept.move_to_end(key)
            while len(self._kept) > self._size or (
                len(self._kept) > 1 and self._total() > self._most_bytes
            ):
                self._kept.popitem(last=False)

    def _total(self) -> int:
        return sum(kept.size_bytes for kept in self._kept.values())
