"""Speaking to the real ASGI application's sockets, over the real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator
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
    """One side of an open socket."""

    def __init__(self, communicator: Any) -> None:  # noqa: ANN401  # channels ships no types
        self._communicator = communicator

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
        await self._communicator.send_to(text_data=json.dumps(message))

    async def send_bytes(self, data: bytes) -> None:
        await self._communicator.send_to(bytes_data=data)

    async def is_silent(self, seconds: float = 0.3) -> bool:
        silent: bool = await self._communicator.receive_nothing(seconds)
        return silent


@asynccontextmanager
async def connect(path: str, headers: list[tuple[bytes, bytes]]) -> AsyncIterator[Socket]:
    """Open a socket; it is closed at the end."""
    communicator = WebsocketCommunicator(application, path, headers=[HOST, *headers])
    is_open, code = await communicator.connect(timeout=10)
    try:
        assert is_open, f"refused with {code}"
        yield Socket(communicator)
    finally:
        await communicator.disconnect(timeout=5)


async def refusal(path: str, headers: list[tuple[bytes, bytes]]) -> int:
    """The code that a socket is closed with."""
    communicator = WebsocketCommunicator(application, path, headers=[HOST, *headers])
    is_open, code = await communicator.connect(timeout=10)
    if not is_open:
        return int(code)
    message = await communicator.receive_output(10)
    await communicator.disconnect(timeout=5)
    assert message["type"] == "websocket.close", message
    return int(message["code"])
