"""The queue's end in the agent: one actor, one consumer of its own namespace."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from gpuagent.runner.attempt import AttemptRunner

QUEUE = "gpu"
ACTOR = "run_attempt"
# One attempt computes while another is claimed and fetched, or encoded and stored. Dramatiq counts
# what is in progress as prefetched: with 1 the second thread would never get a message.
THREADS = 2
POLL_MILLISECONDS = 20


def make_worker(redis_url: str, namespace: str, runner: AttemptRunner) -> dramatiq.Worker:
    """A worker that runs attempts sent to this agent.

    No middleware: no retries (they live in the studio's tables), no time limit (an exception
    from outside never lands inside a kernel call), no priority, no metrics port.
    """
    broker = RedisBroker(url=redis_url, namespace=namespace, middleware=[])  # type: ignore[no-untyped-call]  # dramatiq's is not annotated

    def run_attempt(attempt_id: str, fence: int) -> None:
        runner.run(str(attempt_id), int(fence))

    dramatiq.actor(broker=broker, actor_name=ACTOR, queue_name=QUEUE)(run_attempt)
    worker = dramatiq.Worker(
        broker, queues={QUEUE}, worker_threads=THREADS, worker_timeout=POLL_MILLISECONDS
    )
    worker.queue_prefetch = THREADS
    return worker
