"""Ringing: "something changed, come and look". Carries ids and states, never content."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def ring_on_commit(group: str, event: Mapping[str, object]) -> None:
    """Ring once the running transaction has committed; a lost ring costs a moment, not a fact."""
    message = dict(event)
    transaction.on_commit(lambda: ring(group, message))


def ring(group: str, event: Mapping[str, object]) -> None:
    """Ring now."""
    layer = get_channel_layer()
    try:
        async_to_sync(layer.group_send)(group, dict(event))
    except (RedisError, OSError):
        logger.warning("doorbell silent: redis is away")
