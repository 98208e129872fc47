"""The socket to the studio: started, progress and previews go up, cancel and yield come down.

Nothing waits for it. What cannot be sent yet is kept by key, latest wins, so that after an outage
the studio hears how things stand and not how they went.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpuagent.cache.places import AGENT_API, Places
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.messages import (
    AttemptCancel,
    AttemptProgress,
    AttemptStarted,
    AttemptYield,
)
from gpuagent.protocol.wire import MessageInvalidError, from_wire
from gpuagent.runner.logs import log_event

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_KEPT = 256
_PAUSE_FIRST, _PAUSE_LAST = 0.2, 5.0
_FLUSH_SECONDS = 1.0


class Outbox:
    """What is still to be sent: first in, first out, but one entry per key, the latest."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], str | bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key: tuple[str, str], data: str | bytes) -> None:
        """Add or replace an entry; beyond a bound the oldest go."""
        with self._lock:
            self._entries[key] = data
            while len(self._entries) > _KEPT:
                self._entries.popitem(last=False)

    def take(self) -> tuple[tuple[str, str], str | bytes] | None:
        """Remove and return the oldest entry."""
        with self._lock:
            return self._entries.popitem(last=False) if self._entries else None

    def put_back(self, key: tuple[str, str], data: str | bytes) -> None:
        """Return an entry that was not sent, unless a later one came meanwhile."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = data
                self._entries.move_to_end(key, last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)


class Link:
    """Keeps one socket open from its own thread."""

    def __init__(
        self,
        places: Places,
        *,
        on_cancel: Callable[[str], None],
        on_yield: Callable[[str], None] = lambda _attempt_id: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._places = places
        self._tls = tls
        self._on_cancel, self._on_yield = on_cancel, on_yield
        self._outbox = Outbox()
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """Send what is waiting, if it goes quickly, and hang up."""
        self._is_closing = True
        self._notify()
        self._thread.join(_FLUSH_SECONDS * 2)

    def send(self, message: AttemptStarted | AttemptProgress) -> None:
        """Queue a message; only the latest of its type is kept for an attempt."""
        self._outbox.put((message.type, message.attempt_id), json.dumps(message.to_wire()))
        self._notify()

    def send_preview(self, frame: PreviewFrame) -> None:
        """Queue a preview; only the latest is kept for an attempt."""
        self._outbox.put(("preview", frame.subject_id), frame.encode())
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the agent is leaving
            self._loop.call_soon_threadsafe(self._wake.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._stay_connected())
        finally:
            self._loop.close()

    async def _stay_connected(self) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        url = "ws" + self._places.absolute(f"{AGENT_API}socket").removeprefix("http")
        headers = {"Authorization": f"Bearer {self._places.token}"}
        pause = _PAUSE_FIRST
        while not self._is_closing:
            try:
                async with connect(
                    url,
                    ssl=self._tls if url.startswith("wss:") else None,
                    additional_headers=headers,
                    compression=None,
                    proxy=None,
                    open_timeout=5,
                    close_timeout=0.5,
                    ping_interval=10,
                    max_size=1 << 16,
                ) as socket:
                    log_event("socket.connected")
                    pause = _PAUSE_FIRST
                    await self._talk(socket)
            except (OSError, WebSocketException, TimeoutError) as error:
                log_event("socket.down", error=type(error).__name__)
            if not self._is_closing:
                await self._rest(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, _PAUSE_LAST)

    async def _rest(self, seconds: float) -> None:
        """Sleep, but not through `close`."""
        for _ in range(max(1, round(seconds / 0.1))):
            if self._is_closing:
                return
            await asyncio.sleep(min(seconds, 0.1))

    async def _talk(self, socket: ClientConnection) -> None:
        """Send and receive until either side hangs up."""
        tasks = {
            asyncio.ensure_future(self._send_all(socket)),
            asyncio.ensure_future(self._receive_all(socket)),
        }
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()

    async def _send_all(self, socket: ClientConnection) -> None:
        while True:
            self._wake.clear()
            while (entry := self._outbox.take()) is not None:
                try:
                    await asyncio.wait_for(socket.send(entry[1]), _PAUSE_LAST)
                except BaseException:
                    self._outbox.put_back(*entry)
                    raise
            if self._is_closing:
                return
            await self._wake.wait()

    async def _receive_all(self, socket: ClientConnection) -> None:
        async for data in socket:
            with contextlib.suppress(ValueError, MessageInvalidError):
                self._hear(json.loads(data))

    def _hear(self, raw: object) -> None:
        """What is of a later version of the studio, or not for us, is passed over."""
        kind = raw.get("type") if isinstance(raw, dict) else None
        if kind == AttemptCancel.type:
            self._on_cancel(from_wire(AttemptCancel, raw).attempt_id)
        elif kind == AttemptYield.type:
            self._on_yield(from_wire(AttemptYield, raw).attempt_id)
