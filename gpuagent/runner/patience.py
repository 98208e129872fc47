"""Trying again while a store is away: what is made already is worth waiting for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.runner.logs import log_trouble

T = TypeVar("T")
AWAY_SECONDS = 30.0
FULL_SECONDS = 6.0  # somebody may be tidying up; else people should hear of it soon
_PAUSE_FIRST, _PAUSE_LAST = 0.3, 3.0
# As `cache.sources` and `runner.store` say it: transport errors by their class, answers by status.
_PASSING = (
    "HTTP 408",
    "HTTP 429",
    "HTTP 5",
    "Connect",
    "PoolTimeout",
    "Read",
    "RemoteProtocol",
    "Write",
    "ended early",
)


def patiently(call: Callable[[], T], *, check: Callable[[], None]) -> T:
    """Call until it works, for as long as the trouble is of a kind that passes.

    `check` is called between the tries and may raise: nobody waits longer than the lease lasts.

    Raises:
        AttemptFailedError: it did not pass, or is of another kind.
    """
    began, pause = time.monotonic(), _PAUSE_FIRST
    while True:
        try:
            return call()
        except AttemptFailedError as error:
            if time.monotonic() - began >= _worth_waiting(error):
                raise
            reason = str(error.data.get("reason", ""))
        log_trouble("store.away", reason=reason)
        check()
        threading.Event().wait(pause * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, no secret
        pause = min(pause * 2, _PAUSE_LAST)
        check()


def _worth_waiting(error: AttemptFailedError) -> float:
    reason = str(error.data.get("reason", ""))
    if reason == "disk full":
        return FULL_SECONDS
    return AWAY_SECONDS if reason.startswith(_PASSING) else 0.0
