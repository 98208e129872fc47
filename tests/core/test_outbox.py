"""The outbox: a message is sent if its transaction commits, at least once, and never otherwise."""

from __future__ import annotations

from datetime import timedelta

import dramatiq
import pytest
from django.db import transaction
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from studio.core import queue
from studio.core.models import OutboxMessage
from studio.core.queue import flush_outbox, send_on_commit

pytestmark = pytest.mark.django_db(transaction=True)


def messages(
    redis: Redis, namespace: str = "studio", name: str = "default"
) -> list[dramatiq.Message[object]]:
    kept = redis.hgetall(f"{namespace}:{name}.msgs").values()
    return [dramatiq.Message.decode(raw) for raw in kept if isinstance(raw, bytes)]


def break_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(namespace: str) -> object:
        raise RedisConnectionError(namespace)

    monkeypatch.setattr(queue, "broker", away)


def test_a_message_leaves_when_the_transaction_commits(redis: Redis) -> None:
    with transaction.atomic():
        send_on_commit("sweep", "id_1", 7)
        assert messages(redis) == []
        assert OutboxMessage.objects.count() == 1

    (message,) = messages(redis)
    assert (message.actor_name, message.args) == ("sweep", ("id_1", 7))
    assert not OutboxMessage.objects.exists()


def test_a_message_of_a_transaction_that_fails_is_never_sent(redis: Redis) -> None:
    with pytest.raises(ValueError, match="no"), transaction.atomic():
        send_on_commit("sweep")
        raise ValueError("no")

    assert messages(redis) == []
    assert not OutboxMessage.objects.exists()


def test_namespaces_and_queues_are_kept_apart(redis: Redis) -> None:
    with transaction.atomic():
        send_on_commit("run_attempt", "att_1", 1, namespace="agent:agt_1", queue_name="gpu")

    assert messages(redis) == []
    assert len(messages(redis, "agent:agt_1", "gpu")) == 1


def test_without_a_broker_the_message_stays_and_is_sent_later(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: the broker is away when the transaction commits. Nobody notices.
    with monkeypatch.context() as patch:
        break_broker(patch)
        with transaction.atomic():
            send_on_commit("sweep", "late")
        assert flush_outbox(older_than=timedelta(0)) == 0
    assert OutboxMessage.objects.count() == 1

    # When: it is back, the dispatcher's next round sends it, once.
    assert flush_outbox(older_than=timedelta(minutes=1)) == 0
    assert flush_outbox(older_than=timedelta(0)) == 1
    assert flush_outbox(older_than=timedelta(0)) == 0

    assert [message.args for message in messages(redis)] == [("late",)]
