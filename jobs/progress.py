"""Latest-wins progress in Redis: numbers in the clear, previews sealed. Everything has a TTL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from django.conf import settings
from redis.asyncio import Redis

TTL_SECONDS = 300
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()


def _client() -> Redis:
    """One client (and pool) per event loop."""
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = Redis.from_url(settings.REDIS_URL)
    return client


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Step `step` of `steps` of picture `index` of `count`; `preview` counts its previews."""

    attempt_id: str
    index: int
    count: int
    step: int
    steps: int
    preview: int


def _key(job_id: str) -> str:
    return f"studio:progress:{job_id}"


async def put_progress(job_id: str, values: Mapping[str, str | int]) -> None:
    """Keep the newest numbers of a job."""
    async with _client().pipeline(transaction=False) as pipe:
        pipe.hset(_key(job_id), mapping={key: str(value) for key, value in values.items()})
        pipe.expire(_key(job_id), TTL_SECONDS)
        await pipe.execute()


async def put_preview(job_id: str, *, attempt_id: str, index: int, envelope: bytes) -> None:
    """Keep the newest preview, sealed by the agent under the attempt's preview key."""
    async with _client().pipeline(transaction=False) as pipe:
        mapping: Mapping[Any, str | bytes] = {
            "envelope": envelope,
            "envelope_index": str(index),
            "envelope_attempt": attempt_id,
        }
        pipe.hset(_key(job_id), mapping=mapping)
        pipe.hincrby(_key(job_id), "preview", 1)
        pipe.expire(_key(job_id), TTL_SECONDS)
        await pipe.execute()


async def get_progress(job_id: str) -> Progress | None:
    """The newest numbers, if any are kept."""
    return (await read_progress([job_id])).get(job_id)


async def read_progress(job_ids: Sequence[str]) -> dict[str, Progress]:
    """The newest numbers of those jobs of which some are kept, in one round trip."""
    names = ["attempt_id", "index", "count", "step", "steps", "preview"]
    found: dict[str, Progress] = {}
    for job_id, raw in (await _read(job_ids, names)).items():
        if raw[0] is None:
            continue
        numbers = [int(value or 0) for value in raw[1:]]
        found[job_id] = Progress(
            attempt_id=raw[0].decode(),
            index=numbers[0],
            count=numbers[1],
            step=numbers[2],
            steps=numbers[3],
            preview=numbers[4],
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPreview:
    """A preview's envelope and what it belongs to."""

    attempt_id: str
    index: int
    envelope: bytes


async def get_preview(job_id: str) -> SealedPreview | None:
    """The newest sealed preview, if any is kept."""
    return (await read_previews([job_id])).get(job_id)


async def read_previews(job_ids: Sequence[str]) -> dict[str, SealedPreview]:
    """The newest sealed previews of those jobs that have one, in one round trip."""
    names = ["envelope_attempt", "envelope_index", "envelope"]
    found: dict[str, SealedPreview] = {}
    for job_id, (attempt, index, envelope) in (await _read(job_ids, names)).items():
        if attempt is not None and envelope is not None:
            found[job_id] = SealedPreview(
                attempt_id=attempt.decode(), index=int(index or 0), envelope=envelope
            )
    return found


async def redis_run_id() -> str:
    """Which process of Redis answers: another one than before has lost what was rung meanwhile."""
    return str((await _client().info("server"))["run_id"])


async def _read(job_ids: Sequence[str], names: list[str]) -> dict[str, list[bytes | None]]:
    """Values of jobs' hashes; bytes, since our client decodes nothing."""
    if not job_ids:
        return {}
    async with _client().pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hmget(_key(job_id), names)
        values = await pipe.execute()
    return dict(zip(job_ids, cast("list[list[bytes | None]]", values), strict=True))
