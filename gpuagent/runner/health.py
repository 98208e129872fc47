"""Whether this agent is well. A sick one takes itself out, with a code that says why.

It does not trust itself to be well again: it is started anew, or a person tells it (SIGHUP). Only a
slowdown by the hardware is seen to pass.
"""

from __future__ import annotations

import statistics
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import StrEnum

from gpuagent.runner.clock import now
from gpuagent.runner.logs import log_event, log_trouble

HANG_FACTOR = 20.0
HANG_LEAST_SECONDS = 30.0
_STEPS_FOR_A_MEDIAN = 5
_STEPS_KEPT = 50
_KINDS_KEPT = 64
_STRIKES = 3
_PAUSED_SECONDS = 10.0


class SickCode(StrEnum):
    """Why an agent takes itself out."""

    HANG = "gpu.hang"
    ECC_ERRORS = "gpu.ecc_errors"
    FAILED = "gpu.failed"
    THROTTLED = "gpu.throttled"
    OUT_OF_MEMORY = "gpu.out_of_memory"
    CORRUPT_WEIGHTS = "model.corrupt"


@dataclass(slots=True)
class _Run:
    """The picture being denoised: of which kind, since when its next step takes, what is left."""

    kind: Hashable
    since: float
    left: int = 0


@dataclass(slots=True)
class _Strikes:
    """Different things that failed in a row."""

    seen: list[Hashable] = field(default_factory=list)

    def add(self, what: Hashable) -> None:
        self.seen.append(what)

    def are_out(self, different: int) -> bool:
        return len(self.seen) >= _STRIKES and len(set(self.seen)) >= different


class Health:
    """Counts what speaks against this agent. All methods may be called from any thread."""

    def __init__(
        self, *, on_sick: Callable[[], None] = lambda: None, clock: Callable[[], float] = now
    ) -> None:
        self._on_sick = on_sick
        self._clock = clock
        self._lock = threading.Lock()
        self._code: SickCode | None = None
        self._run: _Run | None = None
        self._steps: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._checked_at = clock()
        self._no_memory = _Strikes()
        self._corrupt = _Strikes()

    @property
    def code(self) -> str:
        """Why the agent is out; empty while it is well."""
        return self._code.value if self._code is not None else ""

    def begin(self, kind: Hashable, steps: int) -> None:
        """A picture of this kind is denoised in so many steps."""
        with self._lock:
            self._run = _Run(kind, self._clock(), steps)

    def step(self) -> None:
        """One step is done."""
        at = self._clock()
        with self._lock:
            if self._run is None:
                return
            known = self._steps.setdefault(self._run.kind, deque(maxlen=_STEPS_KEPT))
            self._steps.move_to_end(self._run.kind)
            while len(self._steps) > _KINDS_KEPT:
                self._steps.popitem(last=False)
            known.append(at - self._run.since)
            self._run.since = at
            self._run.left -= 1

    def end(self) -> None:
        """Denoising is over, one way or another."""
        with self._lock:
            self._run = None

    def picture_made(self) -> None:
        """All went well: what failed before was not this machine's fault."""
        with self._lock:
            self._no_memory, self._corrupt = _Strikes(), _Strikes()

    def ran_out_of_memory(self, kind: Hashable) -> None:
        """It did though it was planned to fit. Several kinds in a row: somebody else eats it."""
        with self._lock:
            self._no_memory.add(kind)
            is_out = self._no_memory.are_out(2)
        if is_out:
            self.be_sick(SickCode.OUT_OF_MEMORY)

    def got_corrupt(self, sha256: object) -> None:
        """A file came broken twice. One such is the store's fault, several in a row are ours."""
        with self._lock:
            self._corrupt.add(str(sha256))
            is_out = self._corrupt.are_out(_STRIKES)
        if is_out:
            self.be_sick(SickCode.CORRUPT_WEIGHTS)

    def be_sick(self, code: SickCode) -> None:
        """Take the agent out; the first reason stays."""
        with self._lock:
            if self._code is not None:
                return
            self._code = code
        log_trouble("agent.sick", code=code.value)
        self._on_sick()

    def recover(self) -> None:
        """A person says that all is well again."""
        with self._lock:
            was, self._code = self._code, None
            self._no_memory, self._corrupt = _Strikes(), _Strikes()
            if self._run is not None:
                self._run.since = self._clock()
        if was is not None:
            log_event("agent.recovered", code=was.value)

    def check(self) -> bool:
        """Look for a step that does not end; True if one was found just now.

        To be called every few seconds: a long silence means that the whole process was paused,
        which is no fault of the device's.
        """
        at = self._clock()
        with self._lock:
            paused, self._checked_at = at - self._checked_at, at
            run = self._run
            if run is None:
                return False
            if paused > _PAUSED_SECONDS:
                run.since += paused
            limit = self._limit(run.kind)
            hangs = limit is not None and at - run.since > limit and self._code is None
        if hangs:
            self.be_sick(SickCode.HANG)
        return hangs

    def seconds_left(self) -> float | None:
        """How long the picture in hand will still be denoised; None if that is not known."""
        with self._lock:
            run = self._run
            median = self._median(run.kind) if run is not None else None
            if run is None or median is None:
                return None
            return max(0.0, run.left * median - (self._clock() - run.since))

    def _limit(self, kind: Hashable) -> float | None:
        median = self._median(kind)
        return None if median is None else max(HANG_FACTOR * median, HANG_LEAST_SECONDS)

    def _median(self, kind: Hashable) -> float | None:
        known = self._steps.get(kind, ())
        return statistics.median(known) if len(known) >= _STEPS_FOR_A_MEDIAN else None
