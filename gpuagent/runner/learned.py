"""What this agent has learned of the memory that pictures take, kept over restarts.

One entry for each model version, way of making and kind of device; a few hundred at most. How sure
the plans are is counted besides: what they foresaw over what it took.
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpuagent.cache.writing import write_atomically
from gpuagent.pipelines.engine import Engine
from gpuagent.planning.growth import Seen
from gpuagent.planning.plan import Plan
from gpuagent.runner.logs import log_trouble

FILE_NAME = "memory.json"
ENTRIES_MAX = 400
# Bounds of the histogram: what was foreseen over what it took.
BOUNDS = (0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
_LATELY = 50
_LEAST = 3
# What a file that somebody wrote into can raise: ArithmeticError is that of infinite numbers.
_ODD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Learned:
    """May be asked and told from any thread."""

    def __init__(self, engine: Engine, path: Path | None = None) -> None:
        self._path = path
        # Another torch takes memory in other ways, and a folder may be carried to another device.
        said = engine.fingerprint
        self._device = f"{engine.gpu_class} torch {said.get('torch')} {said.get('diffusers')}"
        # On a CPU too little kills the process: there is nobody who says that memory ran out.
        self._may_lower = engine.has_own_memory
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._ratios: deque[float] = deque(maxlen=_LATELY)
        self._counts: Counter[float] = Counter()
        self._sum = 0.0
        self._read()

    def factors(self, digest: str, *, pixels: int, batch: int = 1) -> Mapping[str, float]:
        """For the planner: by the label of a plan. Of batches only what makes them smaller."""
        may_lower = self._may_lower and batch == 1
        start = self._key(digest, "", batch)
        with self._lock:
            return {
                key.removeprefix(start): seen.factor(pixels, may_lower=may_lower)
                for key, seen in self._seen.items()
                if key.startswith(start)
            }

    def made(
        self, digest: str, plan: Plan, *, pixels: int, batch: int, growth_bytes: int, is_plain: bool
    ) -> None:
        """A picture took so much on top of its loaded model.

        `is_plain`: nothing came with it whose memory is not the model's own.
        """
        foreseen = plan.growth.bytes_at(plan.factor)
        factor = plan.growth.factor_of(growth_bytes)
        if foreseen <= 0 or growth_bytes <= 0:
            return
        with self._lock:
            ratio = foreseen / growth_bytes
            self._ratios.append(ratio)
            self._counts[next((bound for bound in BOUNDS if ratio <= bound), math.inf)] += 1
            self._sum += ratio
            if factor is None or not is_plain:
                return
            key = self._key(digest, plan.label, batch)
            self._put(key, self._seen.get(key, Seen()).with_picture(factor, pixels))

    def ran_out(self, digest: str, plan: Plan, *, batch: int = 1) -> None:
        """Memory ran out though the plan said that it would not."""
        with self._lock:
            key = self._key(digest, plan.label, batch)
            self._put(key, self._seen.get(key, Seen()).with_shortage())

    def to_wire(self) -> dict[str, object]:
        """For telemetry: how many plans were checked, and how far off nine in ten were lately."""
        with self._lock:
            counts = {str(b): self._counts[b] for b in (*BOUNDS, math.inf) if self._counts[b]}
            told: dict[str, object] = {
                "plans_checked": sum(self._counts.values()),
                "plan_ratios": {"counts": counts, "sum": round(self._sum, 4)},
            }
            if len(self._ratios) >= _LEAST:
                off = sorted(abs(ratio - 1) for ratio in self._ratios)
                told["plan_error"] = round(off[len(off) * 9 // 10], 4)
            return told

    def _key(self, digest: str, label: str, batch: int) -> str:
        return f"{digest}/{'batch' if batch > 1 else 'alone'}/{label}"

    def _put(self, key: str, seen: Seen) -> None:
        is_news = self._seen.get(key) != seen
        self._seen[key] = seen
        self._seen.move_to_end(key)
        while len(self._seen) > ENTRIES_MAX:
            self._seen.popitem(last=False)
        if is_news and self._path is not None:
            entries = {name: asdict(each) for name, each in self._seen.items()}
            text = json.dumps({"device": self._device, "seen": entries})
            try:
                write_atomically(self._path, text.encode())
            except OSError as error:  # a full disk: known until the process ends
                log_trouble("memory.not_kept", error=type(error).__name__)

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            said = json.loads(self._path.read_bytes())
            entries = said["seen"].items() if said["device"] == self._device else ()
        except (OSError, *_ODD):
            return  # none yet, or unreadable
        for key, raw in list(entries)[-ENTRIES_MAX:]:
            with suppress(*_ODD):
                self._seen[key] = _seen(raw)


def _seen(raw: Any) -> Seen:  # noqa: ANN401 - whatever lies in the file
    level = float(raw["level"])
    if not math.isfinite(level):
        raise ValueError("level")
    return Seen(level=level, count=int(raw["count"]), pixels=int(raw["pixels"]))
