"""An agent's way into Redis: its own queue, by a real Valkey's own judgment, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import dramatiq
import pytest
import redis
from django.conf import settings
from django.test import Client, override_settings
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from gpuagent.actors import ACTOR, QUEUE, WaitingBroker, WaitingConsumer
from jobs.models import Agent
from jobs.services import agent_access
from jobs.services.fleet import create_agent
from studio.core.queue import broker
from studio.core.scoping import system_scope
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


@pytest.fixture
def admin() -> Iterator[redis.Redis]:
    """The studio's own user."""
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        yield client


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def agent() -> Iterator[Agent]:
    made, _token = create_agent("first", is_local=False)
    yield made
    agent_access.revoke(made)


@pytest.fixture
def other() -> Iterator[Agent]:
    made, _token = create_agent("second", is_local=False)
    yield made
    agent_access.revoke(made)


def send(agent: Agent, attempt_id: str) -> None:
    """As the dispatcher's outbox does."""
    target = broker(agent.namespace)
    target.declare_queue(QUEUE)
    target.enqueue(
        dramatiq.Message(
            queue_name=QUEUE, actor_name=ACTOR, args=(attempt_id, 1), kwargs={}, options={}
        )
    )


def ask(client: redis.Redis, *words: str) -> object:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]  # not annotated


FORBIDDEN: dict[str, Callable[[redis.Redis, str], object]] = {
    "all names": lambda client, _other: client.keys("*"),
    "names, bit by bit": lambda client, _other: client.scan(0),
    "everything away": lambda client, _other: client.flushall(),
    "its database away": lambda client, _other: client.flushdb(),
    "configuration": lambda client, _other: client.config_get("*"),
    "all users": lambda client, _other: ask(client, "ACL", "LIST"),
    "more rights": lambda client, _other: ask(client, "ACL", "SETUSER", "x", "on"),
    "what others do": lambda client, _other: ask(client, "CLIENT", "LIST"),
    "an own script": lambda client, _other: client.eval("return 1", 0),
    "an own script to keep": lambda client, _other: client.script_load("return 1"),
    "no more scripts": lambda client, _other: ask(client, "SCRIPT", "FLUSH"),
    "a message to all": lambda client, _other: client.publish("studio", "x"),
    "another's queue": lambda client, other: client.blmove(
        f"{other}:gpu", f"{other}:gpu", 1, "LEFT", "LEFT"
    ),
    "another's queue into its own": lambda client, other: client.lpop(f"{other}:gpu"),
    "another's messages": lambda client, other: client.hget(f"{other}:gpu.msgs", "x"),
    "a message for another": lambda client, other: client.rpush(f"{other}:gpu", "x"),
    "the web side's queue": lambda client, _other: client.lpop("studio:default"),
    "a job's progress": lambda client, _other: client.hget("progress:job_1", "step"),
    "the web side's cache": lambda client, _other: client.hget("studio:cache:1:x", "x"),
    "any key": lambda client, _other: client.get("x"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_agents_user_may_not_touch(what: str, agent: Agent, other: Agent) -> None:
    agent_access.grant(other)
    send(other, "att_1")
    with connect(agent_access.grant(agent)) as client:
        assert client.ping()
        with pytest.raises(NoPermissionError):
            FORBIDDEN[what](client, other.namespace)


def test_agents_user_hears_nothing_on_channels(agent: Agent) -> None:
    with (
        connect(agent_access.grant(agent)) as client,
        client.pubsub() as listener,
        pytest.raises(NoPermissionError),
    ):
        listener.psubscribe("*")
        listener.parse_response()


def test_dramatiqs_script_does_not_reach_another_queue(agent: Agent, other: Agent) -> None:
    """The script makes names of keys from what it is given; each is judged all the same."""
    agent_access.grant(other)
    send(other, "att_1")
    spy = WaitingBroker(agent_access.grant(agent), namespace=other.namespace)
    with pytest.raises(NoPermissionError):
        spy.do_fetch(QUEUE, 1)
    with connect(settings.REDIS_URL) as client:
        assert client.llen(f"{other.namespace}:{QUEUE}") == 1


def test_dramatiq_works_through_the_agents_user(agent: Agent, admin: redis.Redis) -> None:
    """Fetched, acknowledged, refused, given back: by a real worker and by the consumer itself."""
    send(agent, "att_1")
    own = WaitingBroker(agent_access.grant(agent), namespace=agent.namespace)
    done: list[str] = []
    came = threading.Event()

    def run_attempt(attempt_id: str, fence: int) -> None:
        done.append(f"{attempt_id} {fence}")
        came.set()

    dramatiq.actor(broker=own, actor_name=ACTOR, queue_name=QUEUE)(run_attempt)
    worker = dramatiq.Worker(own, queues={QUEUE}, worker_threads=1, worker_timeout=50)
    worker.start()
    assert came.wait(10)
    came.clear()
    send(agent, "att_2")  # while it waits
    assert came.wait(10)
    worker.stop(timeout=5_000)
    assert done == ["att_1 1", "att_2 1"]
    assert admin.hlen(f"{agent.namespace}:{QUEUE}.msgs") == 0

    consumer = own.consume(QUEUE, prefetch=2, timeout=50)
    assert isinstance(consumer, WaitingConsumer)
    send(agent, "att_3")
    send(agent, "att_4")
    first, second = next(consumer), next(consumer)
    assert first is not None
    assert second is not None
    consumer.nack(first)  # type: ignore[no-untyped-call]  # dramatiq's
    consumer.requeue([second])  # type: ignore[no-untyped-call]  # same
    assert admin.zcard(f"{agent.namespace}:{QUEUE}.XQ") == 1
    assert admin.llen(f"{agent.namespace}:{QUEUE}") == 1


def test_another_password_or_none_is_refused(agent: Agent, other: Agent) -> None:
    url = agent_access.grant(agent)
    foreign = agent_access.grant(other).replace(other.pk, agent.pk)
    for wrong in (foreign, url.replace(":", ":x", 2).replace(":x//", "://")):
        with connect(wrong) as client, pytest.raises(AuthenticationError):
            client.ping()


def test_a_new_token_cuts_the_old_way(agent: Agent) -> None:
    old = agent_access.grant(agent)
    with connect(old) as client:
        assert client.ping()
        again, _token = create_agent(agent.name, is_local=False)
        new = agent_access.grant(again)
        assert new != old
        with pytest.raises(redis.ConnectionError):
            client.ping()
    with connect(new) as client:
        assert client.ping()


def test_granting_again_leaves_connections_open(agent: Agent) -> None:
    with connect(agent_access.grant(agent)) as client:
        before = client.ping()
        assert agent_access.grant(agent).startswith("redis://")
        assert client.ping() == before


def test_a_removed_agents_user_is_gone(agent: Agent) -> None:
    url = agent_access.grant(agent)
    with connect(url) as client:
        assert client.ping()
        agent_access.revoke(agent)
        with pytest.raises(redis.ConnectionError):
            client.ping()
    with connect(url) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_agent_that_redis_has_forgotten_asks_and_goes_on(agent: Agent, admin: redis.Redis) -> None:
    # Given a Redis that was restarted: no users, no scripts
    own = WaitingBroker(
        agent_access.grant(agent), namespace=agent.namespace, renew=lambda: renew(agent)
    )
    consumer = own.consume(QUEUE, prefetch=1, timeout=50)
    assert next(consumer) is None
    agent_access.revoke(agent)
    admin.script_flush()
    # Then the refused consumer asks, and the next one gets what comes
    with pytest.raises(dramatiq.errors.ConnectionClosed):
        for _ in range(5):
            next(consumer)
    send(agent, "att_1")
    message = next(own.consume(QUEUE, prefetch=1, timeout=50))
    assert message is not None
    assert message.args == ("att_1", 1)


def renew(agent: Agent) -> str:
    return agent_access.grant(agent)


def test_operators_own_user_is_given_as_it_is(agent: Agent, admin: redis.Redis) -> None:
    given = "rediss://agents:secret@redis.example:6380/0"
    with override_settings(AGENT_REDIS_URL=given):
        assert agent_access.grant(agent) == given
    assert agent.pk not in str(ask(admin, "ACL", "USERS"))


def test_agents_may_have_another_address(agent: Agent) -> None:
    with override_settings(AGENT_REDIS_URL="rediss://redis.example:6380/3"):
        url = agent_access.grant(agent)
    assert url.startswith(f"rediss://{agent.pk}:")
    assert url.endswith("@redis.example:6380/3")


def test_user_without_the_right_to_make_users_is_told_so(agent: Agent) -> None:
    url = agent_access.grant(agent)
    with (
        override_settings(REDIS_URL=url),
        pytest.raises(agent_access.UsersRefusedError) as caught,
    ):
        agent_access.grant(agent)
    assert "STUDIO_AGENT_REDIS_URL" in caught.value.message
    assert caught.value.status == 503


def test_agent_asks_for_its_way_over_the_api() -> None:
    handle = factories.make_agent("asking", is_local=False)
    client = Client(headers={"Authorization": handle.header})
    response = client.post("/agent/v1/queue", "{}", "application/json")
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    with system_scope():
        mine = Agent.objects.get(name="asking")
    url = response.json()["redis_url"]
    assert url == agent_access.grant(mine)
    with connect(url) as redis_client:
        assert redis_client.ping()
    agent_access.revoke(mine)
