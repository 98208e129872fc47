"""The heartbeat: from its own thread, so that no long step can silence it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpuagent.protocol.messages import LEASE_SECONDS, Heartbeat, HeartbeatReply, ModelRef
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner import clock
from gpuagent.runner.client import StaleError, StudioClient, StudioUnreachableError
from gpuagent.runner.held import HeldAttempts, Stop
from gpuagent.runner.logs import log_event, log_trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the agent is, for the heartbeat."""

    is_ready: bool
    warm: tuple[str, ...]
    is_leaving: bool = False
    sick_code: str = ""
    telemetry: dict[str, object] = field(default_factory=dict)
    residents: tuple[dict[str, object], ...] = ()


class HeartbeatThread:
    """Beats every few seconds and at once when `poke` is called."""

    def __init__(
        self,
        client: StudioClient,
        held: HeldAttempts,
        *,
        boot_id: str,
        seconds: float,
        condition: Callable[[], Condition],
        on_unknown: Callable[[], object],
        on_preload: Callable[[tuple[ModelRef, ...]], None],
    ) -> None:
        self._client = client
        self._held = held
        self._boot_id = boot_id
        self._seconds = seconds
        self._condition = condition
        self._on_unknown = on_unknown
        self._on_preload = on_preload
        self._wake = threading.Event()
        self._is_closing = False
        self._is_reachable = True
        self.turned_at = time.monotonic()
        self.heard_at = self.turned_at - LEASE_SECONDS - 1  # not yet
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat now, then regularly."""
        self._thread.start()

    def poke(self) -> None:
        """Beat now: something changed that the studio should know."""
        self._wake.set()

    def close(self) -> None:
        """Stop beating."""
        self._is_closing = True
        self._wake.set()
        self._thread.join(2)

    def _run(self) -> None:
        while not self._is_closing:
            self.turned_at = time.monotonic()
            self._wake.clear()
            try:
                self._beat()
            except Exception as error:  # this thread must outlive every surprise
                log_trouble("heartbeat.failed", error=type(error).__name__)
            self._wake.wait(self._seconds)

    def _beat(self) -> None:
        attempts, condition = self._held.list(), self._condition()
        sent_at = clock.now()
        try:
            reply = self._client.heartbeat(
                Heartbeat(
                    boot_id=self._boot_id,
                    ready=condition.is_ready,
                    warm=condition.warm,
                    attempts=attempts,
                    leaving=condition.is_leaving,
                    sick_code=condition.sick_code,
                    telemetry=condition.telemetry,
                    residents=condition.residents,
                )
            )
        except (StudioUnreachableError, StaleError, MessageInvalidError) as error:
            # What is held is given up by each attempt's own clock once the lease has run out.
            if self._is_reachable:
                log_trouble("studio.unreachable", error=type(error).__name__)
            self._is_reachable = False
            return
        if not self._is_reachable:
            log_event("studio.reachable")
        self._is_reachable = True
        self.heard_at = time.monotonic()
        self._follow(reply)
        if reply.known:
            lost = set(reply.lost)
            self._held.renew([a for a in attempts if a.attempt_id not in lost], sent_at)

    def _follow(self, reply: HeartbeatReply) -> None:
        self._held.stop(reply.lost, Stop.LOST)
        self._held.stop(reply.cancel, Stop.CANCELED)
        self._held.yield_after_picture(reply.yields)
        if not reply.known:
            self._on_unknown()
        self._on_preload(reply.preload)
