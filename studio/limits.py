"""How large a request's body may be, and how slow: decided before it is read and before a thread
is taken.

A megabyte is enough for all but a few routes. Those say so where they are declared
(`takes_large_body`) and whom they take it from: a large body of nobody in particular is refused
unread. The whole body is here, in memory, before Django hears of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.urls import Resolver404, resolve

from accounts.http import LargeBody
from studio.core.errors import BodyTooLargeError, BodyTooSlowError, UnauthenticatedError
from studio.core.problems import REFUSAL, known_error
from studio.handler import OneHopHandler

# A body has so long, and longer by the second for every so many bytes that came.
GRACE_SECONDS = 20.0
SLOWEST_BYTES_A_SECOND = 16 * 1024
# Who is refused may go on sending for so long, so that they come to read the answer.
LINGER_SECONDS = 10.0

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequestLimits:
    """Reads a request's body within its limits and hands it on, or answers why not."""

    def __init__(self, handler: OneHopHandler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        try:
            body = await self._read(scope, receive)
        except RequestAborted:
            return
        except Exception as error:
            refusal = known_error(error)
            if refusal is None:
                raise
            refused = {**scope, REFUSAL: refusal}
            await self._handler(refused, _replay(b"", _never), _lingering(receive, send))
            return
        await self._handler(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        limit: int = settings.BODY_MAX_BYTES
        if (declared := _declared_bytes(scope)) > limit:
            limit = await self._larger_limit(scope, declared)
        body = bytearray()  # not a list of parts: whoever sends byte by byte would make it huge
        deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
        while True:
            message = await _next_message(receive, deadline, len(body))
            part: bytes = message.get("body", b"")
            if (received := len(body) + len(part)) > limit:
                limit = await self._larger_limit(scope, received)
            if not message.get("more_body", False):
                return bytes(body + part) if body else part
            body += part

    async def _larger_limit(self, scope: Scope, asked: int) -> int:
        """What this route takes from this caller, with the form that may be around it.

        Raises:
            BodyTooLargeError: not that much, from nobody.
            UnauthenticatedError: from others perhaps.
        """
        allowed = _large_body(scope["path"])
        limit: int = settings.BODY_MAX_BYTES + (allowed.max_bytes if allowed else 0)
        if allowed is None or asked > limit:
            named = allowed.max_bytes if allowed else limit
            raise BodyTooLargeError(sent=_in_words(asked), limit=_in_words(named))
        if not await self._handler.ask(allowed.admits, scope):
            raise UnauthenticatedError
        return limit


async def _next_message(receive: Receive, deadline: float, received: int) -> Message:
    try:
        async with asyncio.timeout_at(deadline + received / SLOWEST_BYTES_A_SECOND):
            message = await receive()
    except TimeoutError:
        seconds = round(GRACE_SECONDS + received / SLOWEST_BYTES_A_SECOND)
        raise BodyTooSlowError(seconds=seconds, received=_in_words(received)) from None
    if message["type"] == "http.disconnect":
        raise RequestAborted
    return message


def _declared_bytes(scope: Scope) -> int:
    """`Content-Length`, of which the server has made sure that it is a number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


def _large_body(path: str) -> LargeBody | None:
    try:
        return large_body_of(resolve(path).func)
    except Resolver404:
        return None


def large_body_of(view: Callable[..., Any]) -> LargeBody | None:
    """What a view declared by `takes_large_body`, itself or on its class."""
    marked: LargeBody | None = getattr(view, "large_body", None)
    return marked or getattr(getattr(view, "view_class", None), "large_body", None)


def _in_words(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 else f"{size:,} bytes"


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever else is to be heard."""
    is_heard = False

    async def again() -> Message:
        nonlocal is_heard
        if is_heard:
            return await receive()
        is_heard = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _lingering(receive: Receive, send: Send) -> Send:
    """Say everything, throw away what still comes, and only then let the connection go.

    One that is closed while bytes are under way is reset, and the answer is lost on the way.
    """

    async def linger(message: Message) -> None:
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await send(message)
            return
        await send({**message, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
        await send({"type": "http.response.body"})

    return linger
