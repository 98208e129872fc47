"""The parts of the agent, put together."""

from __future__ import annotations

import random
import threading
import time

from ulid import ULID

from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.pipelines.registry import import_libraries
from gpuagent.protocol.messages import Assignment, Register
from gpuagent.runner.attempt import AttemptRunner
from gpuagent.runner.client import (
    StaleError,
    StudioClient,
    StudioUnreachableError,
    make_http,
)
from gpuagent.runner.compute import Compute
from gpuagent.runner.finishing import Finisher
from gpuagent.runner.heartbeat import Condition, HeartbeatThread
from gpuagent.runner.held import Held, HeldAttempts, Stop
from gpuagent.runner.link import Link
from gpuagent.runner.logs import log_event, log_trouble
from gpuagent.runner.models import Models
from gpuagent.runner.preload import Preloader
from gpuagent.runner.progress import PreviewThread, ProgressReporter
from gpuagent.runner.settings import Settings
from gpuagent.runner.store import Store

_PAUSE_FIRST, _PAUSE_LAST = 0.2, 5.0
_HAND_BACK_SECONDS = 5.0


class Agent:
    """One process on one device. `boot_id` is new at every start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.boot_id = str(ULID())
        self._http = make_http()
        places = Places(
            studio_url=settings.studio_url,
            token=settings.credentials.token,
            store_root=settings.store_root,
            models_root=settings.models_root,
        )
        self._client = StudioClient(places, self._http)
        self._engine = self._detect(settings)
        self._held = HeldAttempts()
        self._compute = Compute()
        self._is_ready = False
        self._is_leaving = False
        sources = Sources(places, self._http)
        self._models = Models(
            FileCache(settings.cache, sources), self._engine, self._compute, on_change=self._poke
        )
        self._link = Link(places, on_cancel=lambda a: self._held.stop([a], Stop.CANCELED))
        self._previews = PreviewThread(self._link.send_preview)
        self._preloader = Preloader(
            self._models, self._compute, self._held, on_warm=self._become_ready
        )
        self._heartbeat = HeartbeatThread(
            self._client,
            self._held,
            boot_id=self.boot_id,
            seconds=settings.heartbeat_seconds,
            condition=self._condition,
            on_unknown=self._register,
            on_preload=self._preloader.want,
        )
        self.runner = AttemptRunner(
            boot_id=self.boot_id,
            client=self._client,
            held=self._held,
            models=self._models,
            compute=self._compute,
            sources=sources,
            finisher=Finisher(
                self._client, Store(places, self._http), fingerprint=self._engine.fingerprint
            ),
            reporter=self._make_reporter,
            memory_bytes=self._engine.memory_bytes,
            on_end=self._after_attempt,
        )

    def start(self, stop: threading.Event) -> bool:
        """Register as soon as the studio answers, then begin to live. False if told to stop."""
        self._compute.begin(import_libraries)
        pause = _PAUSE_FIRST
        while not stop.is_set():
            if self._register():
                self._link.start()
                self._preloader.start()
                self._heartbeat.start()
                return True
            stop.wait(pause * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, _PAUSE_LAST)
        return False

    def drain(self) -> None:
        """Finish pictures in hand if that goes quickly; hand back the rest; leave."""
        began = time.monotonic()
        self._preloader.close()
        self._is_leaving = True
        self._heartbeat.poke()
        is_done = self._held.drain(self._settings.drain_seconds)
        if not is_done:
            is_done = self._held.stop_all(_HAND_BACK_SECONDS)
        self._heartbeat.close()
        self._link.close()
        self._previews.close()
        self.runner.close()
        self._compute.close()
        self._http.close()
        log_event("agent.left", clean=is_done, seconds=time.monotonic() - began)

    def _condition(self) -> Condition:
        return Condition(
            is_ready=self._is_ready, warm=self._models.warm, is_leaving=self._is_leaving
        )

    def _detect(self, settings: Settings) -> Engine:
        return detect_engine(
            threads=settings.threads,
            memory_limit_bytes=settings.memory_limit_bytes,
            runtime_image=settings.runtime_image,
        )

    def _register(self) -> bool:
        message = Register(
            boot_id=self.boot_id,
            fingerprint=dict(self._engine.fingerprint),
            device=self._engine.device_name,
            memory_bytes=self._engine.memory_bytes,
        )
        try:
            self._client.register(message)
        except (StudioUnreachableError, StaleError) as error:
            log_trouble("agent.not_registered", reason=str(error) or type(error).__name__)
            return False
        log_event("agent.registered", boot=self.boot_id, device=self._engine.device_name)
        return True

    def _become_ready(self) -> None:
        self._is_ready = True
        self._poke()

    def _after_attempt(self) -> None:
        """A model that made a picture is as warm as one that was warmed up."""
        if not self._is_ready and self._models.warm:
            self._become_ready()

    def _poke(self) -> None:
        self._heartbeat.poke()

    def _make_reporter(self, assignment: Assignment, held: Held) -> ProgressReporter:
        return ProgressReporter(assignment, held, self._link, self._previews)
