"""One connection: how large the head of a request may be, and how long it may take to come.

uvicorn itself waits for a request for ever and keeps every header it is sent. Bodies are the
business of `studio/limits.py`.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any

from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_MAX_BYTES = 64 * 1024
HEAD_SECONDS = 15.0
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class GuardedConnection(HttpToolsProtocol):
    """Hangs up on heads that are too large or too slow.

    What is sent and belongs to no body is counted: head, framing of chunks, trailers. The last two
    may be as much as the body beside them. Of a head that comes together with the end of another
    request, the first piece is not counted.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._other_bytes = self._body_bytes = self._fresh_bytes = 0
        self._is_in_head = False
        self._is_socket = False
        self._timer: TimerHandle | None = None

    @override
    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._watch()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._fresh_bytes = len(data) if self._is_idle() and not self._is_in_head else 0
        self._other_bytes += len(data)
        super().data_received(data)
        if self._is_socket or self.transport.is_closing():
            return
        if self._other_bytes > HEAD_MAX_BYTES + self._body_bytes:
            self._refuse()
        elif self._is_idle():
            self._watch()
        else:
            self._unwatch()

    @override
    def handle_websocket_upgrade(self) -> None:
        self._is_socket = True
        self._unwatch()
        super().handle_websocket_upgrade()

    @override
    def on_message_begin(self) -> None:
        self._other_bytes, self._body_bytes = self._fresh_bytes, 0
        self._fresh_bytes = 0
        self._is_in_head = True
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # trailers, which nobody asked for, are dropped
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._other_bytes -= len(body)
        self._fresh_bytes = max(0, self._fresh_bytes - len(body))
        self._body_bytes += len(body)
        super().on_body(body)

    def _is_idle(self) -> bool:
        """No request is being answered: a new head is awaited, or the rest of a refused body."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        self._timer = None
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self) -> None:
        if self._is_idle():
            self.transport.write(_TOO_LARGE)
        self.transport.close()
