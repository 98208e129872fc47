"""Small web servers for tests of fetching: real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class Site:
    """A running server and what it was asked."""

    port: int
    asked: list[bytes] = field(default_factory=list)

    def url(self, host: str = "127.0.0.1", path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def reply(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    """A plain answer; without a length the end of the connection is the end of the body."""

    def answer(connection: socket.socket) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""])
        connection.sendall(head.encode("latin-1") + body)

    return answer


@dataclass
class Parts:
    """Serves a file in parts to who asks for them by its tag; each line breaks after some bytes."""

    body: bytes
    breaks_after: int
    tag: str = '"one"'
    is_careless: bool = False  # sends a part of whatever file is there now
    after: Callable[[Parts], None] = lambda _parts: None  # what changes with every answer
    heard: list[bytes] = field(default_factory=list)

    def __call__(self, connection: socket.socket) -> None:
        lines = self.heard[-1].decode().split("\r\n")
        asked = dict(line.split(": ", 1) for line in lines if ": " in line)
        first = 0
        if "Range" in asked and (self.is_careless or asked.get("If-Range") == self.tag):
            first = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
        part = self.body[first:]
        headers = [f"Content-Length: {len(part)}", f"ETag: {self.tag}", "Accept-Ranges: bytes"]
        if first:
            last = len(self.body) - 1
            headers.append(f"Content-Range: bytes {first}-{last}/{len(self.body)}")
        status = "206 Partial Content" if first else "200 OK"
        reply(part[: self.breaks_after], *headers, status=status)(connection)
        self.after(self)


def redirect(location: str, status: str = "302 Found") -> Answer:
    return reply(b"", f"Location: {location}", "Content-Length: 0", status=status)


def trickle(head: bytes, piece: bytes, pause: float) -> Answer:
    """Sends a head, then a piece every now and then, for ever."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return answer


def silence(connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    time.sleep(5)


@contextmanager
def site(
    answer: Answer, *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Site]:
    """A server on loopback until the block ends."""
    listening = socket.create_server((address, 0))
    running = Site(port=listening.getsockname()[1])

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            spoken = tls.wrap_socket(connection, server_side=True) if tls else connection
            with spoken:
                heard = b""
                while b"\r\n\r\n" not in heard:
                    piece = spoken.recv(65_536)
                    if not piece:
                        return
                    heard += piece
                running.asked.append(heard)
                answer(spoken)

    def serve() -> None:
        while True:
            try:
                connection, _peer = listening.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield running
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
