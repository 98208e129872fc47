"""The web process as it is served, in a thread of the test: real sockets, real uvicorn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from redis import Redis

from launcher.ports import free_port
from launcher.process import wait_until
from studio import serve
from studio.core.stopping import is_stopping


@dataclass
class Line:
    """A connection on which a test says byte by byte what it likes."""

    socket: socket.socket
    heard: bytes = b""

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, wanted: bytes = b"\r\n", timeout_s: float = 10.0) -> bytes:
        """All that was said, until it holds `wanted`."""
        self.socket.settimeout(timeout_s)
        while wanted not in self.heard:
            piece = self.socket.recv(65_536)
            assert piece, self.heard
            self.heard += piece
        return self.heard

    def status(self, timeout_s: float = 10.0) -> int:
        return int(self.hear(timeout_s=timeout_s).split(b" ", 2)[1])

    def is_closed(self, timeout_s: float = 5.0) -> bool:
        """Whether the other side hangs up within this time; what it says first is kept."""
        self.socket.settimeout(timeout_s)
        try:
            while piece := self.socket.recv(65_536):
                self.heard += piece
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


@dataclass
class Studio:
    """A served studio."""

    port: int
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx.Client:
        given = httpx.Client(base_url=self.url, headers=headers, timeout=20.0, trust_env=False)
        return self._open.enter_context(given)

    def line(self) -> Line:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=10.0)
        return Line(self._open.enter_context(opened))

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def start(transactional_db: None, redis: Redis) -> Iterator[Callable[[], Studio]]:
    """`start()`: a studio, served until the end of the test."""
    with ExitStack() as started:

        def start() -> Studio:
            studio = Studio(free_port())
            server = serve.Server(serve.configuration("127.0.0.1", studio.port))
            thread = threading.Thread(target=server.run)
            thread.start()

            def stop() -> None:
                studio.close()
                server.should_exit = True
                thread.join(15)
                is_stopping.clear()

            started.callback(stop)
            assert wait_until(lambda: server.started, 10.0)
            return studio

        yield start


@pytest.fixture
def studio(start: Callable[[], Studio]) -> Studio:
    return start()
