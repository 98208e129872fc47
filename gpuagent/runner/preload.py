"""Making models warm before anyone waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from gpuagent.pipelines.steps import Watch
from gpuagent.protocol.messages import ModelRef
from gpuagent.runner.compute import Compute
from gpuagent.runner.held import HeldAttempts
from gpuagent.runner.logs import log_event, log_trouble
from gpuagent.runner.models import Models

_RETRY_SECONDS = 60.0
_IDLE_SECONDS = 1.0


class _Interrupted(Exception):  # control flow, not an error
    """Real work came."""


class Preloader:
    """Loads wanted models while nothing else is to be done, most wanted first."""

    def __init__(
        self,
        models: Models,
        compute: Compute,
        held: HeldAttempts,
        *,
        on_warm: Callable[[], None],
    ) -> None:
        self._models = models
        self._compute = compute
        self._held = held
        self._on_warm = on_warm
        self._wanted: tuple[ModelRef, ...] = ()
        self._failed_at: dict[str, float] = {}
        self._aside: set[str] = set()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="preload", daemon=True)

    def start(self) -> None:
        """Begin to look for work."""
        self._thread.start()

    def want(self, refs: tuple[ModelRef, ...]) -> None:
        """The studio's wishes, most wanted first; replaces earlier ones."""
        with self._changed:
            if tuple(r.digest for r in refs) != tuple(r.digest for r in self._wanted):
                self._aside.clear()
            self._wanted = refs
            self._changed.notify()

    def close(self) -> None:
        """Stop; a load in progress is not waited for."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def _run(self) -> None:
        while not self._is_closing:
            ref = self._next()
            if ref is None:
                with self._changed:
                    self._changed.wait(_IDLE_SECONDS)
                continue
            try:
                self._warm(ref)
            except _Interrupted:
                continue
            except Exception as error:  # a broken wish must not end preloading
                self._failed_at[ref.digest] = time.monotonic()
                log_trouble("preload.failed", digest=ref.digest[:8], error=type(error).__name__)

    def _next(self) -> ModelRef | None:
        """The most wanted model that is not warm; None while there is real work."""
        if not self._held.is_idle:
            return None
        warm, at_hand = self._models.warm, self._models.at_hand
        for ref in self._wanted:
            failed_at = self._failed_at.get(ref.digest)
            is_resting = failed_at is not None and time.monotonic() - failed_at < _RETRY_SECONDS
            is_aside = ref.digest in self._aside and ref.digest in at_hand
            if ref.digest not in warm and not is_resting and not is_aside:
                return ref
        return None

    def _warm(self, ref: ModelRef) -> None:
        began = time.monotonic()
        with self._models.hold(ref):
            self._models.fetch(ref)
            before = self._wanted[: self._place_of(ref)]
            with self._compute.turn(self._check), ExitStack() as stack:
                self._check()
                for other in before:  # the longest unused of all may be one of these
                    stack.enter_context(self._models.hold(other))
                if not self._models.fits_beside(ref, tuple(other.digest for other in before)):
                    self._put_aside(ref)
                    return
                self._aside.discard(ref.digest)
                model = self._models.loaded(ref)
                self._compute.run(lambda: model.warm_up(Watch(check=self._check_closing)))
        log_event("model.warm", digest=ref.digest[:8], seconds=time.monotonic() - began)
        self._on_warm()

    def _put_aside(self, ref: ModelRef) -> None:
        """Those wanted more fill the device: keep it close by, in host memory, if that has room."""
        if self._models.to_host(ref):
            self._aside.add(ref.digest)
            log_event("model.aside", digest=ref.digest[:8])
        else:
            self._failed_at[ref.digest] = time.monotonic()

    def _place_of(self, ref: ModelRef) -> int:
        return next((i for i, r in enumerate(self._wanted) if r.digest == ref.digest), 0)

    def _check(self) -> None:
        self._check_closing()
        if not self._held.is_idle:
            raise _Interrupted

    def _check_closing(self) -> None:
        if self._is_closing:
            raise _Interrupted
