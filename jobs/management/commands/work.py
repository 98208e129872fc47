"""`manage.py work`: the Dramatiq worker of the web side."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand
from dramatiq import Worker
from typing_extensions import override

from jobs.actors import web_broker

THREADS = 2


class Command(BaseCommand):
    """Run until told to stop, then finish what was begun."""

    help = "Run background work: clean-up and, later, mail and exports."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
        signal.signal(signal.SIGINT, lambda *_: stopping.set())
        worker = Worker(web_broker, worker_threads=THREADS)
        worker.start()
        stopping.wait()
        worker.stop(timeout=5_000)
