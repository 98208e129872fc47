"""The queue's end in the agent: one actor, one consumer of its own namespace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from typing_extensions import override

from gpuagent.runner.attempt import AttemptRunner
from gpuagent.runner.logs import log_event, log_trouble

QUEUE = "gpu"
ACTOR = "run_attempt"
# One attempt computes while another is claimed and fetched, or encoded and stored. Dramatiq counts
# what is in progress as prefetched: with 1 the second thread would never get a message. So many for
# each picture of a batch.
THREADS = 2
WAIT_MILLISECONDS = 250
_FULL_SECONDS = 0.02
_SILENCE_SECONDS = 15
_ASK_AGAIN_SECONDS = 3.0
# Refused: by a Redis that has forgotten this agent's user, or dramatiq's script, which this user
# may run and not load.
_REFUSED = (AuthenticationError, NoPermissionError)


class WaitingConsumer(_RedisConsumer):
    """Waits in Redis for a message, where dramatiq's own consumer asks again and again.

    Asking takes turns of the interpreter from the thread that computes; asking rarely makes
    messages late.
    """

    broker: WaitingBroker

    def __init__(self, broker: WaitingBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        # Without a timeout it does not pause by itself.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]  # dramatiq's is not annotated
        self._wait_seconds = timeout / 1000

    @override
    def __next__(self) -> dramatiq.MessageProxy | None:
        try:
            message: dramatiq.MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]  # same
            if message is None:
                self._wait()
        except ConnectionClosed as error:
            if isinstance(error.__context__, _REFUSED):
                self.broker.ask_again()
            raise
        except RedisError as error:
            if isinstance(error, _REFUSED):
                self.broker.ask_again()
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]  # same
        return message

    @override
    def ack(self, message: dramatiq.MessageProxy) -> None:
        try:
            super().ack(message)  # type: ignore[no-untyped-call]  # same
        except NoPermissionError:
            # It will come once more and be dropped as stale: better than to wait with a thread.
            log_trouble("queue.not_acknowledged")

    def _wait(self) -> None:
        if self.outstanding_message_count >= self.prefetch:
            time.sleep(_FULL_SECONDS)  # until one in hand is done
            return
        queue = f"{self.broker.namespace}:{self.queue_name}"
        # Moves the first message to where it is, as soon as there is one.
        self.broker.client.blmove(queue, queue, self._wait_seconds, "LEFT", "LEFT")  # type: ignore[arg-type]  # parts of seconds are fine


class WaitingBroker(RedisBroker):
    """Dramatiq's broker with consumers that wait, for a user who may use one queue only.

    No maintenance from here: it calls KEYS. Each message that the web side sends may bring it.
    `renew` asks the studio for the address when Redis refuses ours.
    """

    # Else dramatiq would find it out with a script of its own, which must be loaded.
    _max_unpack_size_val = 1_000  # type: ignore[assignment]  # None until it is found out

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        ca_file: Path | None = None,
        renew: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._url, self._ca_file, self._renew = url, ca_file, renew
        self._asked_at = -_ASK_AGAIN_SECONDS
        super().__init__(  # type: ignore[no-untyped-call]  # dramatiq's is not annotated
            client=_connect(url, ca_file), namespace=namespace, middleware=[], maintenance_chance=0
        )

    @property
    @override
    def consumer_class(self) -> type[WaitingConsumer]:
        return WaitingConsumer

    def ask_again(self) -> None:
        """Redis refuses us: hear from the studio how to reach our queue. Not too often."""
        if time.monotonic() - self._asked_at < _ASK_AGAIN_SECONDS:
            return
        self._asked_at = time.monotonic()
        url = self._renew()
        log_event("queue.asked_again", answered=url is not None)
        if url is None or url == self._url:
            return
        self._url = url
        self.client = _connect(url, self._ca_file)
        self.scripts = {
            name: self.client.register_script(script.script)
            for name, script in self.scripts.items()
        }


def _connect(url: str, ca_file: Path | None) -> redis.Redis:
    """A client that notices when the other end is gone."""
    options: dict[str, object] = {
        "socket_timeout": _SILENCE_SECONDS,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }
    if ca_file is not None and url.startswith("rediss://"):
        options["ssl_ca_certs"] = str(ca_file)
    client: redis.Redis = redis.Redis.from_url(url, **options)  # type: ignore[no-untyped-call, arg-type, unused-ignore]  # its options are not typed one by one
    return client


def make_worker(
    redis_url: str,
    namespace: str,
    runner: AttemptRunner,
    *,
    ca_file: Path | None = None,
    batch: int = 1,
    renew: Callable[[], str | None] = lambda: None,
) -> dramatiq.Worker:
    """A worker that runs attempts sent to this agent.

    No middleware: no retries (they live in the studio's tables), no time limit (an exception
    from outside never lands inside a kernel call), no priority, no metrics port.
    """
    broker = WaitingBroker(redis_url, namespace=namespace, ca_file=ca_file, renew=renew)

    def run_attempt(attempt_id: str, fence: int) -> None:
        runner.run(str(attempt_id), int(fence))

    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE)(run_attempt)
    worker = dramatiq.Worker(
        broker, queues={QUEUE}, worker_threads=THREADS * batch, worker_timeout=WAIT_MILLISECONDS
    )
    worker.queue_prefetch = THREADS * batch
    return worker
