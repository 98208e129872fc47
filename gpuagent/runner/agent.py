"""The parts of the agent, put together."""

from __future__ import annotations

import random
import threading
import time

from ulid import ULID

from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.engine import Engine, detect_engine, host_memory_bytes
from gpuagent.pipelines.registry import import_libraries
from gpuagent.protocol.messages import LEASE_SECONDS, Assignment, Register
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner.attempt import AttemptRunner
from gpuagent.runner.client import (
    StaleError,
    StudioClient,
    StudioUnreachableError,
    make_http,
    make_tls,
)
from gpuagent.runner.compute import Compute
from gpuagent.runner.finishing import Finisher
from gpuagent.runner.health import Health, SickCode
from gpuagent.runner.heartbeat import Condition, HeartbeatThread
from gpuagent.runner.held import Held, HeldAttempts, Stop
from gpuagent.runner.learned import FILE_NAME, Learned
from gpuagent.runner.link import Link
from gpuagent.runner.logs import log_event, log_trouble
from gpuagent.runner.models import Models
from gpuagent.runner.preload import Preloader
from gpuagent.runner.progress import PreviewThread, ProgressReporter
from gpuagent.runner.settings import Settings
from gpuagent.runner.store import Store
from gpuagent.runner.telemetry import PeakMemory, Telemetry
from gpuagent.runner.vitals import Vitals

_PAUSE_FIRST, _PAUSE_LAST = 0.2, 5.0
_HAND_BACK_SECONDS = 5.0


def host_cache_bytes(engine: Engine, given: int | None) -> int:
    """Host memory for weights that are not on the device: half of it beside a GPU.

    On a CPU half is the device's own; a quarter is left for the system and the studio.
    """
    if given is not None:
        return given
    return host_memory_bytes() // (2 if engine.has_own_memory else 4)


class Agent:
    """One process on one device. `boot_id` is new at every start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.boot_id = str(ULID())
        tls = make_tls(settings.ca_file)
        self._http = make_http(tls)
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
        self._health = Health(on_sick=self._become_sick)
        self._telemetry = Telemetry(
            has_gpu=self._engine.has_own_memory,
            on_ecc_errors=lambda: self._health.be_sick(SickCode.ECC_ERRORS),
            on_slowdown=self._note_slowdown,
        )
        self._is_ready = False
        self._is_leaving = False
        sources = Sources(places, self._http)
        self._models = Models(
            FileCache(settings.cache, sources, budget_bytes=settings.cache_bytes),
            self._engine,
            self._compute,
            host_bytes=host_cache_bytes(self._engine, settings.host_cache_bytes),
            learned=Learned(self._engine, settings.cache / FILE_NAME),
            on_change=self._poke,
        )
        self._link = Link(
            places,
            on_cancel=lambda attempt_id: self._held.stop([attempt_id], Stop.CANCELED),
            on_yield=lambda attempt_id: self._held.yield_after_picture([attempt_id]),
            tls=tls,
        )
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
            health=self._health,
            peak=PeakMemory(has_gpu=self._engine.has_own_memory),
            batch_limit=settings.batch,
            on_end=self._after_attempt,
        )

    def start(self, stop: threading.Event) -> bool:
        """Register as soon as the studio answers, then begin to live. False if told to stop."""
        self._compute.begin(import_libraries)
        pause = _PAUSE_FIRST
        while not stop.is_set():
            self._heartbeat.turned_at = time.monotonic()  # nothing beats yet, but this turns
            if self._register():
                self._telemetry.start()
                self._link.start()
                self._preloader.start()
                self._heartbeat.start()
                return True
            stop.wait(pause * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, _PAUSE_LAST)
        return False

    def queue_url(self) -> str | None:
        """The way to our queue, as the studio says; None if it cannot be asked."""
        try:
            return self._client.queue_url()
        except (StudioUnreachableError, StaleError, MessageInvalidError) as error:
            log_trouble("queue.no_address", reason=str(error) or type(error).__name__)
            return None

    def wait_for_queue(self, stop: threading.Event) -> str | None:
        """Ask until the studio says where our queue is; None if told to stop."""
        while not stop.is_set():
            if (url := self.queue_url()) is not None:
                return url
            stop.wait(_PAUSE_LAST)
        return None

    def recover(self) -> None:
        """A person says that this agent is well again."""
        self._health.recover()
        if not self._is_leaving:
            self._held.reopen()
            self._register()  # the studio took what was handed back for a farewell
        self._poke()

    def drain(self, notice_seconds: float | None = None) -> None:
        """Finish the picture in hand if it fits into the notice; hand back the rest; leave."""
        began = time.monotonic()
        seconds = self._settings.drain_seconds if notice_seconds is None else notice_seconds
        self._preloader.close()
        self._is_leaving = True
        self._held.close()
        self._heartbeat.poke()
        left = self._health.seconds_left()
        fits = left is None or left < seconds
        is_done = fits and self._held.drain(seconds)
        if not is_done:
            is_done = self._held.stop_all(_HAND_BACK_SECONDS)
        log_event("agent.left", clean=is_done, seconds=time.monotonic() - began)

    def close(self) -> None:
        """Say nothing more and release what is held."""
        self._heartbeat.close()
        self._telemetry.close()
        self._link.close()
        self._previews.close()
        self.runner.close()
        self._compute.close()
        self._http.close()

    def _condition(self) -> Condition:
        """How things stand, for the heartbeat; every beat also looks for a step that hangs."""
        if self._health.check():
            for held in self._held.all():
                self.runner.hand_back(held, "hang")
        return Condition(
            is_ready=self._is_ready,
            warm=self._models.warm,
            is_leaving=self._is_leaving,
            sick_code=self._health.code,
            telemetry={
                **self._telemetry.latest,
                **self._models.ledger.to_wire(),
                **self._models.learned.to_wire(),
                "batch_limit": self._settings.batch,
            },
            residents=self._models.residents(),
        )

    def vitals(self) -> Vitals:
        """How things stand, for who asks from outside."""
        now = time.monotonic()
        return Vitals(
            turned_seconds=now - self._heartbeat.turned_at,
            heard_seconds=now - self._heartbeat.heard_at,
            lease_seconds=LEASE_SECONDS,
            is_ready=self._is_ready,
            is_leaving=self._is_leaving,
            sick_code=self._health.code,
            attempts=len(self._held.all()),
            memory_bytes=self._engine.memory_bytes,
            telemetry={
                **self._telemetry.latest,
                **self._models.ledger.to_wire(),
                **self._models.learned.to_wire(),
            },
            residents=self._models.residents(),
        )

    def _note_slowdown(self, *, is_slow: bool) -> None:
        """The one sickness that passes by itself: a device that was too hot has cooled down."""
        if is_slow:
            self._health.be_sick(SickCode.THROTTLED)
        elif self._health.code == SickCode.THROTTLED:
            self.recover()

    def _become_sick(self) -> None:
        """Nothing more is taken; what is in hand may end if it can."""
        self._held.close()
        self._poke()

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
            gpu_class=self._engine.gpu_class,
            labels=self._settings.labels,
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
