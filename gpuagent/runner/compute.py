"""The one place where torch computes: one thread, and one attempt at a time has its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_CHECK_SECONDS = 0.05


class Compute:
    """Pipelines are not thread-safe, and torch keeps a team of threads per calling thread.

    So all of torch runs on one thread. A turn lasts for all pictures of an attempt, else two
    attempts would take pictures in turns and both end late.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._turn = threading.Lock()

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn; `check` is called while waiting and may raise."""
        self.take_turn(check)
        try:
            yield
        finally:
            self.end_turn()

    def take_turn(
        self, check: Callable[[], None], gives_up: Callable[[], bool] = lambda: False
    ) -> bool:
        """The same for who ends it elsewhere, on any thread; False if it was given up."""
        while not self._turn.acquire(timeout=_CHECK_SECONDS):
            check()
            if gives_up():
                return False
        return True

    def end_turn(self) -> None:
        """The next may begin."""
        self._turn.release()

    def run(self, work: Callable[[], T]) -> T:
        """Run on the compute thread and wait for the result."""
        return self._executor.submit(work).result()

    def begin(self, work: Callable[[], object]) -> None:
        """Run on the compute thread, when it is free, and wait for nothing."""
        self._executor.submit(work)

    def close(self) -> None:
        """Take no more work; what runs is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
