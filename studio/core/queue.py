"""Sending work to Dramatiq by name, through the outbox, so that no service imports an actor.

The row commits with the change that wants the work; right after the commit the message is sent and
the row deleted. If the process dies between, or the broker is away, the dispatcher sends it later
(`flush_outbox`): at least once, never lost. Every actor may therefore run twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import dramatiq
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

from studio.core.models import OutboxMessage

WEB_NAMESPACE = "studio"
DEFAULT_QUEUE = "default"
AGENT_QUEUE = "gpu"
logger = logging.getLogger(__name__)


@lru_cache(maxsize=1_024)
def broker(namespace: str) -> RedisBroker:
    """The broker of a namespace: one for the web side's workers, one per agent."""
    return RedisBroker(url=settings.REDIS_URL, namespace=namespace)  # type: ignore[no-untyped-call]  # dramatiq does not annotate it


def send_on_commit(
    actor_name: str,
    *args: str | int,
    namespace: str = WEB_NAMESPACE,
    queue_name: str = DEFAULT_QUEUE,
) -> None:
    """Ask for `actor_name(*args)` once the running transaction has committed."""
    row = OutboxMessage.objects.create(
        namespace=namespace, queue_name=queue_name, actor_name=actor_name, args=list(args)
    )
    transaction.on_commit(lambda: _deliver(row))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A call of an actor by name, with ids only."""

    actor_name: str
    args: Sequence[str | int]
    namespace: str = WEB_NAMESPACE
    queue_name: str = DEFAULT_QUEUE


def send_all_on_commit(messages: Sequence[Message]) -> None:
    """The same for many, in one statement."""
    rows = OutboxMessage.objects.bulk_create(
        OutboxMessage(
            namespace=message.namespace,
            queue_name=message.queue_name,
            actor_name=message.actor_name,
            args=list(message.args),
        )
        for message in messages
    )
    transaction.on_commit(lambda: _deliver_all(rows))


def flush_outbox(*, older_than: timedelta = timedelta(seconds=2)) -> int:
    """Send what a dying process or an absent broker left behind; how many were sent."""
    rows = OutboxMessage.objects.filter(created_at__lt=timezone.now() - older_than)
    return sum(_deliver(row) for row in rows.order_by("created_at")[:500])


def _deliver(row: OutboxMessage) -> bool:
    try:
        _enqueue(row)
    except (RedisError, dramatiq.errors.BrokerConnectionError):
        logger.warning("broker away, message %s stays in the outbox", row.pk)
        return False
    OutboxMessage.objects.filter(pk=row.pk).delete()
    return True


def _deliver_all(rows: Sequence[OutboxMessage]) -> None:
    """Until the broker is away; what it has not taken stays in the outbox."""
    sent = []
    try:
        for row in rows:
            _enqueue(row)
            sent.append(row.pk)
    except (RedisError, dramatiq.errors.BrokerConnectionError):
        logger.warning("broker away, %d messages stay in the outbox", len(rows) - len(sent))
    OutboxMessage.objects.filter(pk__in=sent).delete()


def _enqueue(row: OutboxMessage) -> None:
    target = broker(row.namespace)
    target.declare_queue(row.queue_name)
    target.enqueue(
        dramatiq.Message(
            queue_name=row.queue_name,
            actor_name=row.actor_name,
            args=tuple(row.args),
            kwargs={},
            options={},
        )
    )
