"""LoRAs and embeddings laid over a loaded model, and taken off again.

No weight of the model is touched: a LoRA is what its layers' outputs are added to on their way, an
embedding is put in the place of its word's. So taking them off leaves the very bytes that were
there, and nothing is reloaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.protocol.adapter_files import (
    AdapterUnfitError,
    Bases,
    Header,
    Layer,
    bare,
    check_embedding,
    lora_layers,
    read_header,
)
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef

if TYPE_CHECKING:
    import torch

    Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One adapter's tensors, in host memory as they are stored."""

    ref: ModelRef
    header: Header
    tensors: Mapping[str, torch.Tensor]

    @property
    def size_bytes(self) -> int:
        """Of the tensors as they are stored."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(tensor.numel() for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Embeddings by the words that call them; `rows` are as wide as the model's own."""

    rows: Mapping[str, torch.Tensor]

    @property
    def triggers(self) -> tuple[str, ...]:
        """The words."""
        return tuple(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What one recipe lays over a model: LoRAs in their order with their weights, embeddings."""

    loras: tuple[tuple[Adapter, float], ...] = ()
    embeddings: tuple[Adapter, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers lie beside the model's own meanwhile."""
        return sum(adapter.parameters for adapter, _weight in self.loras)


def load_adapter(ref: ModelRef, folder: Path) -> Adapter:
    """Read an adapter's one file.

    Raises:
        AttemptFailedError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / ref.files[0].path
    try:
        with path.open("rb") as file:
            header = read_header(file)
        return Adapter(ref=ref, header=header, tensors=load_file(path))
    except (AdapterUnfitError, OSError, SafetensorError) as error:
        raise AttemptFailedError(
            FailureCode.MODEL_UNREADABLE, reason=type(error).__name__
        ) from error


class Laying:
    """Lays stacks over the parts of one model, one stack at a time."""

    def __init__(self, device: str, parts: Mapping[str, Any]) -> None:
        self._device = device
        self._modules = {
            part: {
                bare(name): module
                for name, module in of.named_modules()
                if getattr(getattr(module, "weight", None), "ndim", 0) >= 2
            }
            for part, of in parts.items()
        }
        self._bases: Bases = {
            part: {name: tuple(module.weight.shape) for name, module in modules.items()}
            for part, modules in self._modules.items()
        }
        self.words = Words(rows={})

    @contextmanager
    def laid(self, stack: Stack) -> Iterator[None]:
        """The stack changes what the model makes while this lasts.

        Raises:
            AttemptFailedError: an adapter does not fit the model.
        """
        handles: list[Any] = []
        try:
            for (part, name), pairs in self._pairs(stack.loras).items():
                module = self._modules[part][name]
                handles.append(module.register_forward_hook(_adding(module, *_joined(pairs))))
            self.words = self._words(stack.embeddings)
            yield
        finally:
            self.words = Words(rows={})
            for handle in handles:
                handle.remove()

    def _pairs(self, loras: Sequence[tuple[Adapter, float]]) -> dict[tuple[str, str], list[Pair]]:
        """For each layer that is changed: what each LoRA adds, its weight in the second factor."""
        pairs: dict[tuple[str, str], list[Pair]] = {}
        for adapter, weight in loras:
            if weight == 0:
                continue
            downs: dict[str, torch.Tensor] = {}  # what is one layer in the file has one for all
            for layer in _fitting(adapter, lambda header: lora_layers(header, self._bases)):
                like = self._modules[layer.part][layer.module].weight
                if layer.down not in downs:
                    downs[layer.down] = _down(adapter, layer, like, self._device)
                up = _up(adapter, layer, weight, like, self._device)
                pair = (downs[layer.down], up)
                pairs.setdefault((layer.part, layer.module), []).append(pair)
        return pairs

    def _words(self, embeddings: Sequence[Adapter]) -> Words:
        rows = {}
        for adapter in embeddings:
            name = _fitting(adapter, lambda header: check_embedding(header, self._bases))
            trigger = adapter.ref.trigger_words[0] if adapter.ref.trigger_words else name
            vectors = adapter.tensors[name]
            rows[trigger] = vectors.reshape(-1, vectors.shape[-1])
        return Words(rows=rows)


def _fitting(adapter: Adapter, check: Callable[[Header], Any]) -> Any:  # noqa: ANN401 - what `check` gives
    try:
        return check(adapter.header)
    except AdapterUnfitError as error:
        raise AttemptFailedError(
            FailureCode.ADAPTER_UNFIT, digest=adapter.ref.digest[:16]
        ) from error


def _down(adapter: Adapter, layer: Layer, like: Any, device: str) -> torch.Tensor:  # noqa: ANN401 - no types
    """The first factor in the layer's own shape and precision."""
    down = adapter.tensors[layer.down].reshape(layer.rank, *like.shape[1:])
    return down.to(device=device, dtype=like.dtype)


def _up(adapter: Adapter, layer: Layer, weight: float, like: Any, device: str) -> torch.Tensor:  # noqa: ANN401 - no types
    """The second one, those of its rows that are the layer's; scaled before it is rounded."""
    import torch

    up = adapter.tensors[layer.up]
    if layer.rows:
        up = torch.cat([up[begin:end] for begin, end in layer.rows])
    scale = weight * _alpha(adapter, layer) / layer.rank
    up = up.float().reshape(like.shape[0], layer.rank, *(1 for _ in like.shape[2:])) * scale
    return up.to(device=device, dtype=like.dtype)


def _alpha(adapter: Adapter, layer: Layer) -> float:
    """How strong the LoRA was trained to be, in units of its rank; its rank if nothing says so."""
    if layer.alpha is not None:
        return float(adapter.tensors[layer.alpha].float().item())
    try:
        said = json.loads(adapter.header.said.get("lora_adapter_metadata", "{}"))
        return float(said.get(f"{layer.part}.lora_alpha", layer.rank))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return float(layer.rank)


def _joined(pairs: Sequence[Pair]) -> Pair:
    """Several LoRAs of one layer are one of the sum of their ranks."""
    import torch

    if len(pairs) == 1:
        return pairs[0]
    return torch.cat([down for down, _up in pairs]), torch.cat([up for _down, up in pairs], dim=1)


def _adding(module: Any, down: torch.Tensor, up: torch.Tensor) -> Callable[..., torch.Tensor]:  # noqa: ANN401 - no types
    """A hook that adds what the LoRA makes of a layer's input to its output."""
    from torch.nn import functional

    if down.ndim == 2:

        def add_linear(_module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - no types
            return output + functional.linear(functional.linear(inputs[0], down), up)

        return add_linear
    way = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}

    def add_convolved(_module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - no types
        return output + functional.conv2d(functional.conv2d(inputs[0], down, **way), up)

    return add_convolved
