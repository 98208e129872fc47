"""Speaking to the real ASGI application's sockets, over the real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import unquote

from asgiref.testing import ApplicationCommunicator
from django.test import Client

from accounts.models import User
from studio.asgi import application

ORIGIN = (b"origin", b"http://testserver")
HOST = (b"host", b"testserver")


def session_cookie(user: User) -> bytes:
    """What a signed-in browser sends. Call it where the ORM may be used."""
    client = Client()
    client.force_login(user)
    return cookie_of(client)


def cookie_of(client: Client) -> bytes:
    """What this browser sends."""
    return f"sessionid={client.cookies['sessionid'].value}".encode()


class Socket:
    """One side of a socket. (Channels' own communicator needs a web server of its choice.)"""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {
            "type": "websocket",
            "path": unquote(path),
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
        }
        # asgiref does not annotate it
        self._communicator: Any = cast(Any, ApplicationCommunicator)(application, scope)

    async def open(self) -> int:
        """0 if it was accepted, else the code it was refused with."""
        await self._communicator.send_input({"type": "websocket.connect"})
        answer = await self._communicator.receive_output(10)
        return 0 if answer["type"] == "websocket.accept" else int(answer.get("code", 1000))

    async def hang_up(self) -> None:
        await self._communicator.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._communicator.wait(5)

    async def receive(self, timeout: float = 10.0) -> Any:  # noqa: ANN401  # text or bytes
        """The next thing said: an object, bytes, or the code it was closed with."""
        message = await self._communicator.receive_output(timeout)
        if message["type"] == "websocket.close":
            return message["code"]
        text = message.get("text")
        return json.loads(text) if text is not None else message["bytes"]

    async def receive_type(self, kind: str) -> dict[str, Any]:
        """The next object of a type; what comes before is passed over."""
        async with asyncio.timeout(10):
            while True:
                message = await self.receive()
                if isinstance(message, dict) and message["type"] == kind:
                    return message

    async def receive_bytes(self) -> bytes:
        async with asyncio.timeout(10):
            while True:
                message = await self.receive()
                if isinstance(message, bytes):
                    return message

    async def send(self, message: object) -> None:
        await self._say(text=json.dumps(message))

    async def send_bytes(self, data: bytes) -> None:
        await self._say(bytes=data)

    async def _say(self, **content: str | bytes) -> None:
        await self._communicator.send_input({"type": "websocket.receive", **content})

    async def is_silent(self, seconds: float = 0.3) -> bool:
        silent: bool = await self._communicator.receive_nothing(seconds)
        return silent


@asynccontextmanager
async def connect(path: str, headers: list[tuple[bytes, bytes]]) -> AsyncIterator[Socket]:
    """Open a socket; it is closed at the end."""
    socket = Socket(path, [HOST, *headers])
    code = await socket.open()
    try:
        assert not code, f"refused with {code}"
        yield socket
    finally:
        await socket.hang_up()


async def refusal(path: str, headers: list[tuple[bytes, bytes]]) -> int:
    """The code that a socket is closed with."""
    socket = Socket(path, [HOST, *headers])
    if code := await socket.open():
        return code
    said = await socket.receive()
    await socket.hang_up()
    assert isinstance(said, int), said
    return said
