"""`manage.py work`: the Dramatiq worker of the web side."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from dramatiq import Worker
from typing_extensions import override

from jobs.actors import web_broker
from jobs.process_metrics import WORKER, CountWork
from studio.core.metrics import serve_metrics

THREADS = 2


class Command(BaseCommand):
    """Run until told to stop, then finish what was begun."""

    help = "Run background work: clean-up and, later, mail and exports."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        signal.signal(signal.SIGINT, lambda *_: stopping.set())
        serve_metrics("STUDIO_WORKER_METRICS", settings.WORKER_METRICS, WORKER)
        web_broker.add_middleware(CountWork())
        worker = Worker(web_broker, worker_threads=THREADS)
        worker.start()
        stopping.wait()
        worker.stop(timeout=5_000)
