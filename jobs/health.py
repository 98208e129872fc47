"""Is it alive, is it ready? For the launcher, for people, for orchestrators."""

from __future__ import annotations

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from accounts.http import public
from jobs.selectors import count_agents


@public("says only that the process answers")
@require_safe
def alive(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"alive": True})


@public("says only whether the parts are there, in numbers")
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Database, Redis and a warm agent are there: a picture can be made."""
    waiting_for, warm = _waiting_for()
    body = {"ready": not waiting_for, "agents_warm": warm, "waiting_for": waiting_for}
    response = JsonResponse(body, status=503 if waiting_for else 200)
    response._has_been_logged = True  # type: ignore[attr-defined]  # "not yet" is no error to log
    return response


def _waiting_for() -> tuple[str, int]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connected, warm = count_agents()
    except DatabaseError:
        return "the database", 0
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=1) as redis:
            redis.ping()
    except RedisError:
        return "Redis", 0
    if not connected:
        return "an agent to connect", 0
    return ("" if warm else "an agent to warm up its model"), warm
