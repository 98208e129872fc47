"""A model version in memory, of whatever kind: its parts, where they lie, what lies over them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.adapters import Stack
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.steps import Watch
from gpuagent.planning.plan import Measure
from gpuagent.protocol.failures import FailureCode

VAE = "vae"
_ENCODERS = "text_encoder"


class LoadedModel(ABC):
    """The parts of one model version: loaded into host memory, then brought to the device.

    Parts are called as in diffusers' folders; those that begin with `text_encoder` are needed only
    while a prompt is read.
    """

    is_half = False

    def __init__(self, parts: dict[str, Placed]) -> None:
        self._parts = parts
        self._measures: frozenset[Measure] = frozenset()

    @property
    def weights_bytes(self) -> int:
        """Memory of the weights as they are loaded."""
        return sum(self.part_bytes.values())

    @property
    def part_bytes(self) -> dict[str, int]:
        """The same, part by part."""
        return {name: part.size_bytes for name, part in self._parts.items()}

    @property
    def device_bytes(self) -> int:
        """Memory of the weights that are on the device all the time."""
        sizes = self.part_bytes.items()
        return sum(size for name, size in sizes if not self._comes_and_goes(name))

    def bring(self, measures: frozenset[Measure] = frozenset()) -> None:
        """Have on the device what is needed all the time, and work by these measures."""
        self._measures = measures
        for name, part in self._parts.items():
            if self._comes_and_goes(name):
                part.put_aside()
            else:
                part.bring()

    def put_aside(self) -> None:
        """Leave the device; the weights stay in host memory."""
        for part in self._parts.values():
            part.put_aside()

    def keep_host_copy(self) -> bool:
        """Keep the weights in pinned host memory too; False if the host does not give it."""
        kept = all(part.keep_host_copy() for part in self._parts.values())
        if not kept:
            self.drop_host_copy()
        return kept

    def drop_host_copy(self) -> None:
        """Give the pinned memory back; what is on the device stays there."""
        for part in self._parts.values():
            part.drop_host_copy()

    @contextmanager
    def laid(self, stack: Stack) -> Iterator[None]:
        """Adapters lie over the model while this lasts; afterwards it is as it was.

        Raises:
            AttemptFailedError: one does not fit the model, or none can be laid over it.
        """
        if stack != Stack():
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="no model for adapters")
        yield

    @abstractmethod
    def warm_up(self, watch: Watch | None = None) -> None:
        """Make something tiny, so that the first real picture does not pay for first calls."""

    def _comes_and_goes(self, name: str) -> bool:
        if Measure.PARTS_ASIDE in self._measures:
            return True
        return name.startswith(_ENCODERS) and Measure.ENCODERS_ASIDE in self._measures

    @contextmanager
    def _here(self, *names: str) -> Iterator[None]:
        """These parts are on the device while this lasts, whatever the measures."""
        parts = [(self._parts[name], self._comes_and_goes(name)) for name in names]
        for part, _goes in parts:
            part.bring()
        try:
            yield
        finally:
            for part, goes in parts:
                if goes:
                    part.put_aside()
