"""What the dispatcher and the worker count while they run, for Prometheus.

Counts begin at nothing when the process does, as Prometheus expects. No label names anybody.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from dramatiq import Broker, Middleware
from dramatiq.broker import MessageProxy
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from typing_extensions import override

from jobs.lifecycle import AttemptStatus
from jobs.models import JobAttempt, RunRecord
from jobs.scheduling import Tier

DISPATCHER = CollectorRegistry()
WORKER = CollectorRegistry()
for _registry in (DISPATCHER, WORKER):
    ProcessCollector(registry=_registry)
# The objectives are among the bounds, so that what was kept can be read off exactly.
_WAITS = (0.5, 1, 2, 5, 10, 15, 25, 60, 120, 300, 360, 600, 1_800, 3_600)
_TIERS = {tier.value for tier in Tier}

LEADS = Gauge(
    "studio_dispatcher_leads",
    "1 while this process is the one that gives work.",
    registry=DISPATCHER,
)
DISPATCHES = Counter(
    "studio_dispatches", "Attempts that were given to agents.", registry=DISPATCHER
)
ROUNDS = Histogram(
    "studio_dispatch_round_seconds",
    "How long a round of the dispatcher took.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=DISPATCHER,
)
ATTEMPTS = Counter(
    "studio_attempts_ended", "Attempts that ended.", ["tier", "status"], registry=DISPATCHER
)
LEASES_LOST = Counter(
    "studio_leases_lost", "Attempts taken back from agents that fell silent.", registry=DISPATCHER
)
WAITS = Histogram(
    "studio_job_wait_seconds",
    "From the request to the start, of jobs that have ended.",
    ["tier"],
    buckets=_WAITS,
    registry=DISPATCHER,
)
WHOLES = Histogram(
    "studio_job_seconds",
    "From the request to the end, of jobs that succeeded.",
    ["tier"],
    buckets=_WAITS,
    registry=DISPATCHER,
)
LOADS = Counter(
    "studio_model_loads", "Runs by where they found the model.", ["source"], registry=DISPATCHER
)
PLANNER_ERROR = Histogram(
    "studio_planner_error",
    "Memory planned for a picture beside the weights, over what it took, less 1.",
    buckets=(-0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5, 1, 2, 5, 10),
    registry=DISPATCHER,
)
MESSAGES = Counter(
    "studio_worker_messages", "Background work done.", ["actor", "outcome"], registry=WORKER
)
WORK = Histogram(
    "studio_worker_message_seconds", "How long background work took.", ["actor"], registry=WORKER
)


def count_end(attempt: JobAttempt) -> None:
    """An attempt has ended; the dispatcher sees each once, when it settles it."""
    tier = str(attempt.placement.get("tier", ""))
    ATTEMPTS.labels(tier if tier in _TIERS else "unknown", attempt.status).inc()
    if attempt.status == AttemptStatus.EXPIRED.value:
        LEASES_LOST.inc()
    error = planner_error(attempt.timings)
    if error is not None:
        PLANNER_ERROR.observe(error)


def planner_error(timings: Mapping[str, object]) -> float | None:
    """How much more was planned than it took, as a part of that; None where nobody measured."""
    planned, took = timings.get("planned_growth_bytes"), timings.get("growth_bytes")
    if not isinstance(planned, int) or not isinstance(took, int) or planned <= 0 or took <= 0:
        return None
    return planned / took - 1


class RunFollower:
    """Counts each run record once: those that were written since the last time.

    A record may be committed a little later than its time says, so the last seconds are read
    again, and what was counted is remembered for as long.
    """

    OVERLAP = timedelta(seconds=30)
    EVERY_SECONDS = 5.0

    def __init__(self) -> None:
        self._begun_at = timezone.now()
        self._counted: dict[str, datetime] = {}
        self._followed_at = -self.EVERY_SECONDS

    def follow(self) -> int:
        """Count what is new, now and then; how many that were."""
        if time.monotonic() - self._followed_at < self.EVERY_SECONDS:
            return 0
        self._followed_at = time.monotonic()
        since = max(self._begun_at, timezone.now() - self.OVERLAP * 2)
        fresh = [run for run in RunRecord.objects.filter(ended_at__gt=since) if self._is_new(run)]
        for run in fresh:
            _observe(run)
        limit = timezone.now() - self.OVERLAP * 3
        self._counted = {pk: at for pk, at in self._counted.items() if at > limit}
        return len(fresh)

    def _is_new(self, run: RunRecord) -> bool:
        if run.pk in self._counted:
            return False
        self._counted[run.pk] = run.ended_at
        return True


def _observe(run: RunRecord) -> None:
    tier = run.tier if run.tier in _TIERS else "unknown"
    if run.load_source:
        LOADS.labels(run.load_source).inc()
    if run.wait_seconds is None:
        return
    WAITS.labels(tier).observe(run.wait_seconds)
    if run.status == AttemptStatus.SUCCEEDED.value:
        WHOLES.labels(tier).observe(run.wait_seconds + run.run_seconds)


class CountWork(Middleware):
    """Counts what the worker has done, by actor and outcome."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    @override
    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._begun[message.message_id] = time.monotonic()

    @override
    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        began = self._begun.pop(message.message_id, time.monotonic())
        WORK.labels(message.actor_name).observe(time.monotonic() - began)
        MESSAGES.labels(message.actor_name, "failed" if exception else "done").inc()
