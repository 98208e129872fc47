"""`manage.py dispatch`: the dispatcher as a process. A second one waits until the first is gone."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError, close_old_connections, connections
from typing_extensions import override

from jobs.announcements import DISPATCH_CHANNEL, jobs_named_by
from jobs.dispatcher import Dispatcher
from jobs.process_metrics import DISPATCHER, DISPATCHES, LEADS, ROUNDS, RunFollower
from jobs.services.fleet_events import watch_fleet
from studio.core.metrics import Pulse, serve_metrics
from studio.core.scoping import system_scope

LEADER_LOCK = 0x57D10  # any number, but the same for every dispatcher of an installation
POLL_SECONDS = 1.0
logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Run until told to stop; survive the database going away."""

    help = "Give queued jobs to agents."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self.pulse = Pulse()
        serve_metrics(
            "STUDIO_DISPATCHER_METRICS", settings.DISPATCHER_METRICS, DISPATCHER, self.pulse
        )
        with system_scope():
            while not self.is_stopping:
                try:
                    self._lead()
                except (psycopg.OperationalError, OperationalError) as error:
                    logger.warning("database away (%s), trying again", type(error).__name__)
                    LEADS.set(0)
                    self.pulse.beat(waiting_for="the database")
                    connections.close_all()
                    time.sleep(POLL_SECONDS)

    def _stop(self, *_signal: object) -> None:
        self.is_stopping = True

    def _lead(self) -> None:
        """Hold the leader's lock on a connection of its own, and listen there."""
        parameters = connections["default"].get_connection_params()
        parameters.pop("cursor_factory", None)
        parameters.pop("context", None)
        with psycopg.connect(**parameters, autocommit=True) as listener:
            if not self._become_leader(listener):
                return
            listener.execute(f"LISTEN {DISPATCH_CHANNEL}")
            logger.info("dispatching")
            dispatcher, runs = Dispatcher(), RunFollower()
            LEADS.set(1)
            tidied_at = -POLL_SECONDS
            changed: set[str] | None = None
            while not self.is_stopping:
                close_old_connections()
                is_tidying = time.monotonic() - tidied_at >= POLL_SECONDS
                if is_tidying:
                    tidied_at = time.monotonic()
                    watch_fleet()
                    runs.follow()
                with ROUNDS.time():
                    leased = dispatcher.run_round(is_tidying=is_tidying, changed=changed)
                DISPATCHES.inc(leased)
                self.pulse.beat()
                changed = wait_for_changes(
                    listener, dispatcher.seconds_until_due(at_most=POLL_SECONDS)
                )

    def _become_leader(self, listener: psycopg.Connection[Any]) -> bool:
        while not self.is_stopping:
            row = listener.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK]).fetchone()
            if row and row[0]:
                return True
            self.pulse.beat()  # another leads, and this one is ready to
            time.sleep(POLL_SECONDS)
        return False


def wait_for_changes(listener: psycopg.Connection[Any], seconds: float) -> set[str] | None:
    """Wait for a note, then take all that have come: the jobs they name, None if that may be any.

    The connection listens since before the first round, and Postgres delivers a note after what it
    tells of can be seen, so what no note names has not changed.
    """
    notes = [note.payload for note in listener.notifies(timeout=seconds, stop_after=1)]
    if notes:
        notes += [note.payload for note in listener.notifies(timeout=0)]
    return jobs_named_by(notes)
