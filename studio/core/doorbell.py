"""Ringing: "something changed, come and look". Carries ids and states, never content.

Rings leave from one background event loop per process, so that nobody waits for them and the
connection to Redis is kept. A lost ring costs a moment, not a fact: everything is in Postgres.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from functools import lru_cache

from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="doorbell", daemon=True).start()
    return loop


def ring_on_commit(group: str, event: Mapping[str, object]) -> None:
    """Ring once the running transaction has committed."""
    message = dict(event)
    transaction.on_commit(lambda: ring(group, message))


def ring(group: str, event: Mapping[str, object]) -> None:
    """Ring now, without waiting."""
    asyncio.run_coroutine_threadsafe(_send(group, dict(event)), _loop())


async def _send(group: str, event: dict[str, object]) -> None:
    layer = get_channel_layer()
    try:
        await layer.group_send(group, event)
    except (RedisError, OSError):
        logger.warning("doorbell silent: redis is away")
