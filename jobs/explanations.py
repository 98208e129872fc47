"""What the dispatcher says about waiting, for as long as somebody looks: kept in Redis, briefly.

A page or a program that shows a queue *watches*: it leaves a mark that fades. The dispatcher alone
knows the live order; about once a second it writes what it knows of what is watched. Codes,
numbers and ids travel here, nothing else. Without Redis there are no explanations, and the queue
works as ever.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

WATCHED_SECONDS = 15.0
SAID_SECONDS = 10
TIMEOUT_SECONDS = 0.5
_WATCHED = "studio:watched"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Why a job waits. `by_tier`: how many of those ahead are of a more urgent tier, by its name.

    `starts_in` in seconds from `at`, None if nothing can take it; `agent` is where it would start
    first, `load_seconds` what loading its model there takes (0: it is there).
    """

    code: str
    jobs_ahead: int
    own_jobs_ahead: int
    at: float
    by_tier: Mapping[str, int] = field(default_factory=dict)
    starts_in: float | None = None
    agent: str | None = None
    load_seconds: float = 0.0
    data: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What is before the next job of somebody at one tier. `wait_seconds` is as things stand; None
    if no agent takes work.
    """

    jobs_ahead: int
    own_jobs_ahead: int
    wait_seconds: float | None
    is_free: bool
    """An idle agent would take it at once."""


def watch(name: str) -> None:
    """Somebody looks at a workspace (its id) or at what is before a person (`member_name`)."""
    try:
        _client(settings.REDIS_URL).zadd(_WATCHED, {name: time.time()})
    except RedisError:
        logger.warning("nothing is watched: redis is away")


def member_name(organization_id: str, user_id: str) -> str:
    """How a person in an organization is watched."""
    return f"{organization_id}:{user_id}"


def watched() -> list[str]:
    """What somebody has looked at lately."""
    client, now = _client(settings.REDIS_URL), time.time()
    with client.pipeline(transaction=False) as pipe:
        pipe.zremrangebyscore(_WATCHED, "-inf", now - WATCHED_SECONDS)
        pipe.zrange(_WATCHED, 0, -1)
        _removed, names = pipe.execute()
    return [name.decode() for name in names]


def say(name: str, values: Mapping[str, Why] | Mapping[str, Ahead]) -> None:
    """Replace what is said of a watched thing; it fades unless it is said again."""
    with _client(settings.REDIS_URL).pipeline(transaction=True) as pipe:
        pipe.delete(_key(name))
        if values:
            fields = {key: json.dumps(asdict(value)) for key, value in values.items()}
            pipe.hset(_key(name), mapping=cast("dict[Any, Any]", fields))
            pipe.expire(_key(name), SAID_SECONDS)
        pipe.execute()


def why_of(workspace_id: str, job_ids: Sequence[str]) -> dict[str, Why]:
    """Why these jobs of the workspace wait, of those of which it is known."""
    if not job_ids:
        return {}
    try:
        said = _client(settings.REDIS_URL).hmget(_key(workspace_id), list(job_ids))
    except RedisError:
        return {}
    known = zip(job_ids, cast("list[bytes | None]", said), strict=True)
    return {job_id: Why(**json.loads(text)) for job_id, text in known if text}


def ahead_of(organization_id: str, user_id: str) -> dict[str, Ahead]:
    """What is before the person's next job, by tier; empty until the dispatcher has said so."""
    try:
        said = _client(settings.REDIS_URL).hgetall(_key(member_name(organization_id, user_id)))
    except RedisError:
        return {}
    known = cast("dict[bytes, bytes]", said)
    return {tier.decode(): Ahead(**json.loads(text)) for tier, text in known.items()}


def _key(name: str) -> str:
    return f"studio:waiting:{name}"


@lru_cache(maxsize=4)
def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS)
