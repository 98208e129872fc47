"""The queue's end in the agent: one actor, one consumer of its own namespace."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed
from redis.exceptions import RedisError
from typing_extensions import override

from gpuagent.runner.attempt import AttemptRunner

QUEUE = "gpu"
ACTOR = "run_attempt"
# One attempt computes while another is claimed and fetched, or encoded and stored. Dramatiq counts
# what is in progress as prefetched: with 1 the second thread would never get a message.
THREADS = 2
WAIT_MILLISECONDS = 250
_FULL_SECONDS = 0.02


class WaitingConsumer(_RedisConsumer):
    """Waits in Redis for a message, where dramatiq's own consumer asks again and again.

    Asking takes turns of the interpreter from the thread that computes; asking rarely makes
    messages late.
    """

    def __init__(self, broker: RedisBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        # Without a timeout it does not pause by itself.
        super().__init__(broker, queue_name, prefetch, 0)  # type: ignore[no-untyped-call]  # dramatiq's is not annotated
        self._wait_seconds = timeout / 1000

    @override
    def __next__(self) -> dramatiq.MessageProxy | None:
        message: dramatiq.MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]  # same
        if message is None:
            self._wait()
        return message

    def _wait(self) -> None:
        if self.outstanding_message_count >= self.prefetch:
            time.sleep(_FULL_SECONDS)  # until one in hand is done
            return
        queue = f"{self.broker.namespace}:{self.queue_name}"
        try:
            # Moves the first message to where it is, as soon as there is one.
            self.broker.client.blmove(queue, queue, self._wait_seconds, "LEFT", "LEFT")
        except RedisError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]  # same


class WaitingBroker(RedisBroker):
    """Dramatiq's broker with consumers that wait."""

    @property
    @override
    def consumer_class(self) -> type[WaitingConsumer]:
        return WaitingConsumer


def make_worker(redis_url: str, namespace: str, runner: AttemptRunner) -> dramatiq.Worker:
    """A worker that runs attempts sent to this agent.

    No middleware: no retries (they live in the studio's tables), no time limit (an exception
    from outside never lands inside a kernel call), no priority, no metrics port.
    """
    broker = WaitingBroker(url=redis_url, namespace=namespace, middleware=[])  # type: ignore[no-untyped-call]  # dramatiq's is not annotated

    def run_attempt(attempt_id: str, fence: int) -> None:
        runner.run(str(attempt_id), int(fence))

    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE)(run_attempt)
    worker = dramatiq.Worker(
        broker, queues={QUEUE}, worker_threads=THREADS, worker_timeout=WAIT_MILLISECONDS
    )
    worker.queue_prefetch = THREADS
    return worker
