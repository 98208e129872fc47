"""The agent API over HTTP."""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from gpuagent.cache.places import AGENT_API, Places
from gpuagent.protocol.messages import (
    Assignment,
    AttemptFinish,
    Claim,
    Heartbeat,
    HeartbeatReply,
    Message,
    OutputCommit,
    QueueAccess,
    Register,
)
from gpuagent.protocol.wire import MessageInvalidError, from_wire

T = TypeVar("T")

# Refusals that pass by themselves: too slow, too often.
_PASSING = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})
TIMEOUT = httpx.Timeout(10.0, connect=3.0)
# So many tries take longer than a lease, which ends them (`check`): made pictures are not given up.
WHILE_LEASED = 24


class StaleError(Exception):
    """The studio says that this attempt is not ours (any more)."""


class StudioUnreachableError(Exception):
    """No usable answer; says which kind of trouble."""


class StudioRefusedError(StudioUnreachableError):
    """It answered, and asking again will not change the answer."""


def make_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates are checked against the system's list and, if given, one more file."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def make_http(tls: ssl.SSLContext | None = None) -> httpx.Client:
    """A client that keeps connections open and reads nothing from the environment."""
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60)
    verify: ssl.SSLContext | bool = tls if tls is not None else True
    return httpx.Client(timeout=TIMEOUT, limits=limits, trust_env=False, verify=verify)


class StudioClient:
    """Typed calls. 409 becomes `StaleError`, all other trouble `StudioUnreachableError`."""

    def __init__(self, places: Places, http: httpx.Client) -> None:
        self._places = places
        self._http = http

    def register(self, message: Register) -> None:
        """Introduce this boot of the agent."""
        self._post("register", message)

    def queue_url(self) -> str:
        """The way to our queue, granted anew."""
        url = self._places.absolute(f"{AGENT_API}queue")
        return from_wire(QueueAccess, _json(self._send(url, {}))).redis_url

    def heartbeat(self, message: Heartbeat) -> HeartbeatReply:
        """Tell that we live; hear what to stop and what to prepare."""
        return from_wire(HeartbeatReply, _json(self._post("heartbeat", message)))

    def claim(self, attempt_id: str, message: Claim) -> Assignment:
        """Take an attempt.

        Raises:
            StaleError: it is not for us.
        """
        return from_wire(Assignment, _json(self._post(f"attempts/{attempt_id}/claim", message)))

    def commit(self, attempt_id: str, message: OutputCommit) -> None:
        """Tell that a picture is stored. Saying it twice does no harm."""
        self._post(f"attempts/{attempt_id}/outputs", message)

    def finish(self, attempt_id: str, message: AttemptFinish) -> None:
        """Tell how an attempt ended."""
        self._post(f"attempts/{attempt_id}/finish", message)

    def _post(self, path: str, message: Message) -> httpx.Response:
        return self._send(self._places.absolute(f"{AGENT_API}{path}"), message.to_wire())

    def _send(self, url: str, body: dict[str, object]) -> httpx.Response:
        try:
            answer = self._http.post(url, json=body, headers=self._places.headers(url))
        except httpx.HTTPError as error:
            raise StudioUnreachableError(type(error).__name__) from error
        if answer.status_code == httpx.codes.CONFLICT:
            raise StaleError
        if answer.is_client_error and answer.status_code not in _PASSING:
            raise StudioRefusedError(f"HTTP {answer.status_code}")
        if not answer.is_success:
            raise StudioUnreachableError(f"HTTP {answer.status_code}")
        return answer


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError as error:
        raise MessageInvalidError("not JSON") from error


def persist(
    call: Callable[[], T],
    *,
    check: Callable[[], None],
    tries: int = 8,
    first_pause: float = 0.1,
) -> T:
    """Call until the studio answers; `check` may raise between the tries.

    Raises:
        StudioUnreachableError: it did not, after all tries.
    """
    pause = first_pause
    for left in range(tries - 1, -1, -1):
        check()
        try:
            return call()
        except StudioUnreachableError as error:
            if left == 0 or isinstance(error, StudioRefusedError):
                raise
        threading.Event().wait(pause * random.uniform(0.7, 1.3))  # noqa: S311 - jitter, no secret
        pause = min(pause * 2, 3.0)
    raise AssertionError("unreachable")
