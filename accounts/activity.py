"""Where and when each session was last seen, for the list on the security page."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponseBase

EVERY_SECONDS = 60.0
SESSIONS_REMEMBERED = 10_000


class ActivityMiddleware:
    """Notes it once a minute at most: a page of tiles is a hundred requests."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        key = request.session.session_key
        if key and self._is_due(key, time.monotonic()) and request.user.is_authenticated:
            UserSession.objects.create_from_request(request)
        return self.get_response(request)

    def _is_due(self, key: str, now: float) -> bool:
        with self._lock:
            if now - self._noted.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
                return False
            self._noted[key] = now
            self._noted.move_to_end(key)
            if len(self._noted) > SESSIONS_REMEMBERED:
                self._noted.popitem(last=False)
            return True
