"""What the agent counts of its models: where they came from, how long it took, what lies where."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from gpuagent.pipelines.registry import LoadedModel
from gpuagent.protocol.messages import ModelRef

SOURCES = ("gpu", "host", "disk", "store")
_RESIDENTS_MAX = 200
_NAMES_MAX = 1_000


class Ledger:
    """Counts since the process began. `gpu` stands for the device, also where that is a CPU."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads: Counter[str] = Counter()
        self._seconds = dict.fromkeys(SOURCES, 0.0)
        self._names: dict[str, str] = {}
        self.last_source = ""

    def name(self, ref: ModelRef) -> None:
        """Remember what a digest is called."""
        with self._lock:
            if len(self._names) < _NAMES_MAX:
                self._names[ref.digest] = ref.name

    def count(self, source: str, seconds: float) -> None:
        """A model was wanted and found here, after so long."""
        with self._lock:
            self.last_source = source
            self._loads[source] += 1
            self._seconds[source] += seconds

    def to_wire(self) -> dict[str, object]:
        """For telemetry: how often and how long, by source."""
        with self._lock:
            return {
                "loads": {source: self._loads[source] for source in SOURCES},
                "load_seconds": {source: round(self._seconds[source], 3) for source in SOURCES},
            }

    def residents(
        self,
        *,
        device: Iterable[tuple[str, LoadedModel]],
        host: Iterable[tuple[str, LoadedModel]],
        disk: Iterable[tuple[str, int]],
    ) -> tuple[dict[str, object], ...]:
        """One entry for each part of a model and each place."""
        found = [
            self._resident(digest, part, size, place)
            for place, models in (("gpu", device), ("host", host))
            for digest, model in models
            for part, size in model.part_bytes.items()
        ]
        found += [self._resident(digest, "files", size, "disk") for digest, size in disk]
        return tuple(found[:_RESIDENTS_MAX])

    def _resident(self, digest: str, part: str, size: int, place: str) -> dict[str, object]:
        with self._lock:
            name = self._names.get(digest, "")
        return {"digest": digest, "name": name, "component": part, "bytes": size, "place": place}
