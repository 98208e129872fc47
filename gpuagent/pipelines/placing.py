"""Where a part's weights lie, on the device or aside in host memory; denoisers that work in halves.

The path over CUDA has not been run on a GPU yet; on a CPU device and host are one, and nothing is
copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Placed:
    """A module that comes to the device and goes aside. Its weights are never changed.

    With a host copy, which is pinned, coming is one copy over the bus and going frees memory
    without any copy. Without one the weights travel both ways.
    """

    def __init__(self, module: Any, device: str) -> None:  # noqa: ANN401 - torch's, which is imported late
        self._module = module
        self._device = device
        self._copies: dict[str, Any] | None = None
        self._is_here = device == "cpu"

    @property
    def size_bytes(self) -> int:
        """Of weights and buffers."""
        return sum(t.numel() * t.element_size() for _name, _owner, _key, t in self._tensors())

    def keep_host_copy(self) -> bool:
        """Copy the weights to pinned host memory; False if the host does not give it."""
        if self._device == "cpu" or self._copies is not None:
            return True
        try:
            self._copies = {
                name: tensor.detach().to("cpu").pin_memory()
                for name, _owner, _key, tensor in self._tensors()
            }
        except RuntimeError:  # the host locks no more pages
            self._copies = None
            return False
        return True

    def drop_host_copy(self) -> None:
        """Forget it; weights that lie aside stay, in memory that is not pinned."""
        if self._copies is not None and not self._is_here:
            self._set({name: copy.clone() for name, copy in self._copies.items()})
        self._copies = None

    def bring(self) -> None:
        """Have the weights on the device."""
        if self._is_here:
            return
        if self._copies is None:
            self._module.to(self._device)
        else:
            # Work that follows waits in the same stream until the copies are there.
            copies = self._copies.items()
            self._set({n: copy.to(self._device, non_blocking=True) for n, copy in copies})
        self._is_here = True

    def put_aside(self) -> None:
        """Have the weights in host memory only."""
        if not self._is_here or self._device == "cpu":
            return
        if self._copies is None:
            self._module.to("cpu")
        else:
            self._set(self._copies)
        self._is_here = False

    def _set(self, tensors: dict[str, Any]) -> None:
        for name, owner, key, tensor in list(self._tensors()):
            if key in owner._parameters:
                tensor.data = tensors[name]
            else:
                owner._buffers[key] = tensors[name]

    def _tensors(self) -> Iterator[tuple[str, Any, str, Any]]:
        """Name, owner, name there and tensor; shared ones once."""
        seen: set[int] = set()
        for prefix, owner in self._module.named_modules():
            for kept in (owner._parameters, owner._buffers):
                for key, tensor in kept.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        yield f"{prefix}.{key}", owner, key, tensor


class SplitGuidance:
    """Lets a denoiser take the two halves of guidance one after the other: half the activations.

    Attention in slices, as diffusers has it, was measured too: beside torch's own attention,
    which keeps no scores, it needs more memory at one size and less at another.
    """

    def __init__(self, denoiser: Any) -> None:  # noqa: ANN401 - as above
        self.is_split = False
        self._forward = denoiser.forward
        denoiser.forward = self._call

    def _call(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        latents = given[0] if given else named["hidden_states"]
        if not self.is_split or latents.shape[0] != 2:
            return self._forward(*given, **named)
        import torch

        named["return_dict"] = False
        halves = [self._forward(*half_of(given, i), **half_of(named, i))[0] for i in range(2)]
        return (torch.cat(halves),)


def half_of(value: Any, index: int) -> Any:  # noqa: ANN401 - as above
    """What belongs to one of the two; what belongs to both, like a timestep, as it is."""
    if isinstance(value, dict):
        return {name: half_of(each, index) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(half_of(each, index) for each in value)
    if getattr(value, "ndim", 0) and value.shape[0] == 2:
        return value[index : index + 1]
    return value
