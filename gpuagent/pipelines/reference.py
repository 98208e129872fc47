"""Reference pictures: what a U-Net sees in one while it draws another, so that the styles meet.

Before each step the reference, noised as far as the picture is, goes through the same U-Net, and
each layer of self-attention keeps what it was given. Then the picture goes, and the layers look at
both. No weight is needed, and none is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuagent.protocol.references import ReferenceUse

if TYPE_CHECKING:
    import torch

# Of the noise over a reference: none that a recipe's seed would begin with.
_NOISE_SEED = 2**40 + 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A picture in latent space (1, channels, height, width), for a share of the steps."""

    latents: torch.Tensor
    weight: float
    start: float = 0.0
    end: float = 1.0

    def is_on(self, call: int, calls: int) -> bool:
        """In this call of the U-Net, counted from zero, of so many."""
        return call / calls >= self.start and (call + 1) / calls <= self.end

    @classmethod
    def of(cls, use: ReferenceUse, latents: torch.Tensor) -> Reference:
        """As a recipe asks for it."""
        return cls(latents=latents, weight=use.weight, start=use.start, end=use.end)

    def noised(self, timestep: Any, scheduler: Any, like: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - diffusers has no types
        """As the U-Net is given a picture at this timestep, which may lie between two."""
        import torch

        kept = scheduler.alphas_cumprod.float().cpu()
        place = min(max(float(timestep), 0.0), len(kept) - 1.0)
        low = int(place)
        high = min(low + 1, len(kept) - 1)
        signal = kept[low] + (kept[high] - kept[low]) * (place - low)
        generator = torch.Generator("cpu").manual_seed(_NOISE_SEED)
        noise = torch.randn(self.latents.shape, generator=generator).to(like.device)
        made = self.latents.float() * signal.sqrt().item() + noise * (1 - signal).sqrt().item()
        # What a U-Net for inpainting is told beside the latents, it is told of this one, too.
        beside = like[:, made.shape[1] :]
        if beside.shape[1]:
            beside = torch.nn.functional.interpolate(beside, size=made.shape[-2:])
        return torch.cat([made.to(like.dtype), beside], dim=1)


class Referring:
    """The layers of self-attention of one U-Net, which keep and look while references are on."""

    def __init__(self, unet: Any) -> None:  # noqa: ANN401 - as above
        self._layers = [
            module
            for name, module in unet.named_modules()
            if name.endswith(".attn1") and hasattr(module, "to_k")
        ]
        self._kept: dict[int, list[torch.Tensor]] = {}
        self._is_keeping = False
        self._weights: list[tuple[float, ...]] = []

    @property
    def can(self) -> bool:
        """Whether there are such layers."""
        return bool(self._layers)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The layers do as they are told here while this lasts; afterwards they are as ever."""
        before = [layer.forward for layer in self._layers]
        try:
            for number, (layer, forward) in enumerate(zip(self._layers, before, strict=True)):
                layer.forward = self._watched(number, forward)
            yield
        finally:
            for layer in self._layers:
                layer.__dict__.pop("forward", None)
            self.forget()

    def keep(self, see: Callable[[], object]) -> None:
        """Keep what the layers are given while the U-Net sees one reference."""
        self._is_keeping = True
        try:
            see()
        finally:
            self._is_keeping = False

    def look(self, weights: Sequence[Sequence[float]]) -> None:
        """From now on: how much of each reference goes into each picture of the batch."""
        self._weights = [tuple(each) for each in weights]

    def forget(self) -> None:
        """The step is over."""
        self._kept, self._weights = {}, []

    def _watched(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def attend(hidden: torch.Tensor, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
            if self._is_keeping:
                self._kept.setdefault(number, []).append(hidden.detach())
            plain = forward(hidden, *given, **named)
            if self._is_keeping or not self._weights:
                return plain
            return plain + sum(
                self._more(forward, hidden, plain, kept, weights)
                for kept, weights in zip(self._kept[number], self._weights, strict=True)
            )

        return attend

    def _more(
        self,
        forward: Callable[..., Any],
        hidden: torch.Tensor,
        plain: torch.Tensor,
        kept: torch.Tensor,
        weights: Sequence[float],
    ) -> torch.Tensor:
        """What looking at the reference, too, changes."""
        import torch

        both = torch.cat([hidden, kept.expand(hidden.shape[0], -1, -1)], dim=1)
        seen: torch.Tensor = forward(hidden, encoder_hidden_states=both)
        share = torch.tensor(weights, dtype=plain.dtype, device=plain.device)
        return (seen - plain) * share[:, None, None]


def last_of(value: Any, batch: int) -> Any:  # noqa: ANN401 - as above
    """What belongs to the last of a batch; what belongs to all of it, as it is."""
    if isinstance(value, dict):
        return {name: last_of(each, batch) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(last_of(each, batch) for each in value)
    if getattr(value, "ndim", 0) and value.shape[0] == batch:
        return value[-1:]
    return value
