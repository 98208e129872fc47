"""Metrics of the fleet as the web process tells them: read from rows when they are asked for.

Labels are tiers, kinds of GPUs and conditions: nothing of an organization, no id, no content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from accounts.authentication import TokenAuthentication
from accounts.http import public
from accounts.roles import Permission
from accounts.throttling import count_request, of_address
from jobs.broadcast import count_pages
from jobs.fleet_state import CONDITIONS, FleetState, read_fleet
from jobs.fleet_waits import NONE_FITS
from jobs.objectives import OBJECTIVES
from studio.core.errors import UnauthenticatedError
from studio.core.metrics import is_metrics_token


class FleetCollector(Collector):
    """Reads the fleet once for each question."""

    @override
    def collect(self) -> Iterator[Metric]:
        """Queue, predicted waits, agents."""
        state = read_fleet(with_runs=False)
        yield from _of_tiers(state)
        yield from _of_classes(state)
        yield from _of_agents(state)
        pages = _gauge("studio_web_pages", "Open pages that this process talks to.")
        pages.add_metric([], count_pages())
        yield pages


def _of_tiers(state: FleetState) -> Iterator[Metric]:
    jobs = _gauge("studio_queue_jobs", "Jobs that wait.", "tier")
    seconds = _gauge("studio_queue_gpu_seconds", "GPU seconds of the jobs that wait.", "tier")
    running = _gauge("studio_running_jobs", "Jobs that agents hold.", "tier")
    wait = _gauge(
        "studio_queue_wait_seconds",
        "Predicted wait of a job that comes now, on the kind of GPU for which most waits.",
        "tier",
    )
    goal = _gauge("studio_objective_wait_seconds", "How long a job may wait.", "tier")
    for line in state.tiers:
        tier = [line.tier.value]
        jobs.add_metric(tier, line.queued)
        seconds.add_metric(tier, line.queued_seconds)
        running.add_metric(tier, line.running)
        wait.add_metric(tier, line.predicted_seconds)
        if line.tier in OBJECTIVES:
            goal.add_metric(tier, OBJECTIVES[line.tier].wait_seconds)
    yield from (jobs, seconds, running, wait, goal)


def _of_classes(state: FleetState) -> Iterator[Metric]:
    seconds = _gauge(
        "studio_class_queue_gpu_seconds",
        "GPU seconds that wait for a kind of GPU; `none`: no agent that takes work can take them.",
        "tier",
        "gpu_class",
    )
    wait = _gauge(
        "studio_predicted_wait_seconds",
        "Predicted wait of a job that comes now for a kind of GPU.",
        "tier",
        "gpu_class",
    )
    for load in state.classes:
        name = "none" if load.gpu_class == NONE_FITS else load.gpu_class
        for tier, predicted in load.waits.items():
            seconds.add_metric([tier.value, name], load.seconds.get(tier, 0.0))
            wait.add_metric([tier.value, name], predicted)
    yield from (seconds, wait)


def _of_agents(state: FleetState) -> Iterator[Metric]:
    agents = _gauge("studio_agents", "Agents by condition.", "condition", "gpu_class")
    counts = Counter((line.condition, line.agent.gpu_class or "unknown") for line in state.agents)
    kinds = {kind for _condition, kind in counts}
    for kind in sorted(kinds):
        for condition in CONDITIONS:
            agents.add_metric([condition, kind], counts[condition, kind])
    yield agents


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


@public("answers those alone who show the metrics token, or an operator's API token")
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The fleet in Prometheus' text format; to others it is not there."""
    if not is_metrics_token(request.headers.get("Authorization", "")):
        _require_operator(request)
    registry = CollectorRegistry()
    registry.register(FleetCollector())
    ProcessCollector(registry=registry)
    answer = HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    answer["Cache-Control"] = "no-store"
    return answer


def _require_operator(request: HttpRequest) -> None:
    try:
        known = TokenAuthentication().authenticate(request)
    except UnauthenticatedError:
        known = None
    if known is None:
        count_request(of_address(request))
        raise Http404
    known[1].require(Permission.FLEET_VIEW)
