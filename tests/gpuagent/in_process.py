"""The agent's own classes put together in this process, without network: for tests and benchmarks.

Everything from the claim to the sealed file is the agent's; only the studio's answers come by a
call instead of over HTTP, and nobody listens to progress and previews, though they are made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import SourceError, Sources
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.preview import LatentColors
from gpuagent.pipelines.registry import import_libraries
from gpuagent.pipelines.steps import Peek
from gpuagent.protocol.messages import Assignment, AttemptProgress, Message
from gpuagent.runner.attempt import AttemptRunner
from gpuagent.runner.client import StaleError, StudioClient
from gpuagent.runner.compute import Compute
from gpuagent.runner.finishing import Finisher
from gpuagent.runner.health import Health
from gpuagent.runner.held import Held, HeldAttempts, Stop
from gpuagent.runner.models import Models
from gpuagent.runner.progress import PreviewThread, ProgressReporter
from gpuagent.runner.store import Store
from gpuagent.runner.telemetry import PeakMemory

from .support import TOKEN, Attempt, FakeStudio

IN_HAND = 2  # as the dispatcher gives them: one at work, one waiting


class _InsideClient(StudioClient):
    """Asks the studio of this process."""

    def __init__(self, places: Places, http: httpx.Client, studio: FakeStudio) -> None:
        super().__init__(places, http)
        self._studio = studio

    @override
    def _send(self, url: str, body: dict[str, object]) -> httpx.Response:
        status, answer = self._studio.answer("POST", urlsplit(url).path, json.dumps(body).encode())
        if status == httpx.codes.CONFLICT:
            raise StaleError
        return httpx.Response(status, json=answer)


class _InsideSources(Sources):
    """Starting pictures come from the studio of this process, too."""

    def __init__(self, places: Places, http: httpx.Client, studio: FakeStudio) -> None:
        super().__init__(places, http)
        self._studio = studio

    @override
    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        if not url.startswith("/agent/"):
            with super().open(url) as chunks:
                yield chunks
            return
        status, data = self._studio.answer("GET", url, b"")
        if status != httpx.codes.OK or not isinstance(data, bytes):
            raise SourceError(f"HTTP {status}")
        yield iter([data])


class _Listener:
    """Takes the place of the socket: remembers what was told, for who asks."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def send(self, message: Message) -> None:
        self.told.append(message)


class _NoReporter(ProgressReporter):
    """Nobody watches: no latent is looked at."""

    @override
    def step(
        self, index: int, count: int, done: int, of: int, peek: Peek, colors: LatentColors
    ) -> None:
        progress = AttemptProgress(
            attempt_id=self._held.attempt_id,
            fence=self._held.fence,
            seq=self._held.next_seq(),
            index=index,
            count=count,
            step=done,
            steps=of,
        )
        self._link.send(progress)


class AgentInside:
    """One agent. `run` gives it attempts as its queue does, and waits for their ends."""

    def __init__(
        self,
        folder: Path,
        studio: FakeStudio,
        engine: Engine,
        *,
        models_root: Path,
        host_bytes: int = 2 * 1024**3,
        batch: int = 1,
        has_previews: bool = True,
    ) -> None:
        self.studio = studio
        self.engine = engine
        self.batch = batch
        self.held = HeldAttempts()
        self.listener = _Listener()
        self.previews = 0
        self._lock = threading.Lock()
        self._http = httpx.Client(trust_env=False)
        places = Places(
            studio_url=studio.url, token=TOKEN, store_root=studio.store, models_root=models_root
        )
        client = _InsideClient(places, self._http, studio)
        self.compute = Compute()
        self.compute.run(import_libraries)
        sources = _InsideSources(places, self._http, studio)
        self.models = Models(
            FileCache(folder / "cache", sources), engine, self.compute, host_bytes=host_bytes
        )
        self._previews = PreviewThread(self._count)
        self._reporter_class = ProgressReporter if has_previews else _NoReporter
        self.runner = AttemptRunner(
            boot_id="boot",
            client=client,
            held=self.held,
            models=self.models,
            compute=self.compute,
            sources=sources,
            finisher=Finisher(client, Store(places, self._http), fingerprint=engine.fingerprint),
            reporter=self._reporter,
            health=Health(),
            peak=PeakMemory(has_gpu=engine.has_own_memory),
            batch_limit=batch,
        )
        self._threads = ThreadPoolExecutor(IN_HAND * batch)

    def run(self, attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
        """Run attempts, so many at once as an agent has in hand; how each ended."""
        for attempt in attempts:
            _lease_for_long(attempt)
        list(self._threads.map(lambda one: self.runner.run(one.id, one.fence), attempts))
        return [attempt.finish or {} for attempt in attempts]

    def run_and_cancel(self, attempt: Attempt) -> dict[str, Any]:
        """Run one that is canceled after its first step."""
        _lease_for_long(attempt)
        running = self._threads.submit(self.runner.run, attempt.id, attempt.fence)
        while not running.done():
            if any(getattr(one, "step", 0) for one in self._told_of(attempt)):
                self.held.stop([attempt.id], Stop.CANCELED)
            threading.Event().wait(0.001)
        return attempt.finish or {}

    @property
    def waiting(self) -> int:
        """How many wait for their turn to compute."""
        return len(self.runner._seats._waiting)

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown()
        self._previews.close()
        self.runner.close()
        self.compute.close()
        self._http.close()

    def _told_of(self, attempt: Attempt) -> list[Message]:
        told = list(self.listener.told)
        return [one for one in told if getattr(one, "attempt_id", "") == attempt.id]

    def _reporter(self, assignment: Assignment, held: Held) -> ProgressReporter:
        listener: Any = self.listener
        return self._reporter_class(assignment, held, listener, self._previews)

    def _count(self, _frame: object) -> None:
        with self._lock:
            self.previews += 1


def _lease_for_long(attempt: Attempt) -> None:
    """Here is no heartbeat that renews it."""
    attempt.assignment = replace(attempt.assignment, lease_seconds=3_600.0)
