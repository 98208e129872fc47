"""Django behind ASGI with one change of threads for a request instead of a dozen.

Django hops to a thread and back for every middleware that is not asynchronous, and gives each
request a thread of its own, so that each opens a connection to the database of its own. All views
here are plain functions: the whole way through middleware and view runs in one thread of a small
team that keeps its threads, and with them their connections.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async
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


class OneHopHandler(ASGIHandler):
    """`ASGIHandler` whose middleware and views all run in one thread."""

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware(is_async=False)
        people = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="request")
        machines = ThreadPoolExecutor(MACHINE_THREADS_MAX, thread_name_prefix="machine")
        self._respond, self._respond_to_machine = (
            sync_to_async(self._in_thread, thread_sensitive=False, executor=team)
            for team in (people, machines)
        )

    @override
    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer to a request; never raises."""
        is_machine = request.path.startswith(MACHINE_PATHS)
        return await (self._respond_to_machine if is_machine else self._respond)(request)

    def _in_thread(self, request: HttpRequest) -> HttpResponseBase:
        # Django's own signals do this, but in the thread that they are sent from.
        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()
