"""`manage.py work`: the Dramatiq worker of the web side."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from dramatiq import Worker
from redis import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from jobs.actors import web_broker
from jobs.process_metrics import WORKER, CountWork
from library.services.uploads import QUEUE as MODELS_QUEUE
from studio.core.metrics import serve_metrics
from studio.core.queue import DEFAULT_QUEUE

# Queue: threads. A large model must never keep mail and clean-up waiting.
THREADS = {DEFAULT_QUEUE: 2, MODELS_QUEUE: 2}


class WorkerVitals:
    """Whether its threads live, and whether Redis answers."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers

    def is_alive(self) -> bool:
        """A thread that has ended will not come back by itself."""
        threads = [
            thread
            for worker in self._workers
            for thread in (*worker.consumers.values(), *worker.workers)
        ]
        return all(thread.is_alive() for thread in threads)

    def waiting_for(self) -> str:
        """What it lacks."""
        try:
            with Redis.from_url(settings.REDIS_URL, socket_timeout=1) as redis:
                redis.ping()
        except RedisError:
            return "Redis"
        return "" if self.is_alive() else "threads that have ended"


class Command(BaseCommand):
    """Run until told to stop, then finish what was begun."""

    help = "Run background work: clean-up and, later, mail and exports."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        signal.signal(signal.SIGINT, lambda *_: stopping.set())
        web_broker.add_middleware(CountWork())
        workers = [
            Worker(web_broker, queues={queue}, worker_threads=threads)
            for queue, threads in THREADS.items()
        ]
        for worker in workers:
            worker.start()
        vitals = WorkerVitals(*workers)
        serve_metrics("STUDIO_WORKER_METRICS", settings.WORKER_METRICS, WORKER, vitals)
        stopping.wait()
        for worker in workers:
            worker.stop(timeout=5_000)
