"""Django behind ASGI with one change of threads for a request instead of a dozen.

Django hops to a thread and back for every middleware that is not asynchronous, and gives each
request a thread of its own, so that each opens a connection to the database of its own. All views
here are plain functions: the whole way through middleware and view runs in one thread of a small
team that keeps its threads, and with them their connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import IO, Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase
from typing_extensions import override

# A thread is made only when all others are busy. Most of so many could only wait for jobs to end
# (`Prefer: wait`); each may hold a connection, of which PostgreSQL allows a hundred.
THREADS_MAX = 40
# Agents and health checks have a team of their own: whatever people do, pictures can be finished.
MACHINE_THREADS_MAX = 8
MACHINE_PATHS = ("/agent/", "/healthz", "/readyz")

Answer = TypeVar("Answer")


class OneHopHandler(ASGIHandler):
    """`ASGIHandler` whose middleware and views all run in one thread."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        people = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="request")
        machines = ThreadPoolExecutor(MACHINE_THREADS_MAX, thread_name_prefix="machine")
        self._for_people, self._for_machines = (
            sync_to_async(_with_connections, thread_sensitive=False, executor=team)
            for team in (people, machines)
        )

    @override
    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer to a request; never raises."""
        return await self._in_team(self.get_response, request)

    @override
    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> IO[bytes]:
        """The body, in memory: Django's own would put a large one into a file, in the clear.

        How much and how long is up to `studio/limits.py`.
        """
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return BytesIO(parts[0] if len(parts) == 1 else b"".join(parts))

    async def ask(self, question: Callable[[HttpRequest], bool], scope: dict[str, Any]) -> bool:
        """Answer a question about a request whose body nobody has read, in the request's team."""
        request, _error = self.create_request(scope, BytesIO())
        return request is not None and await self._in_team(question, request)

    async def _in_team(self, work: Callable[[HttpRequest], Answer], request: HttpRequest) -> Answer:
        is_machine = request.path.startswith(MACHINE_PATHS)
        return await (self._for_machines if is_machine else self._for_people)(work, request)


def _with_connections(work: Callable[[HttpRequest], Answer], request: HttpRequest) -> Answer:
    # Django's own signals do this, but in the thread that they are sent from.
    close_old_connections()
    try:
        return work(request)
    finally:
        close_old_connections()
