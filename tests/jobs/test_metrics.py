"""Metrics: who may read them, what they say, and that they name nobody."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import dramatiq
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs.dispatcher import Dispatcher
from jobs.management.commands.work import WorkerVitals
from jobs.models import Agent, RunRecord
from jobs.process_metrics import DISPATCHER, WORKER, CountWork, RunFollower, planner_error
from library.models import ModelVersion
from studio import env
from studio.core import metrics
from studio.core.metrics import Pulse, serve_metrics
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import PROMPT, AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
TOKEN = "a-long-random-text"


@pytest.fixture
def scraper(settings: Settings) -> Client:
    settings.METRICS_TOKEN = TOKEN
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Name and labels of every sample, with its value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_the_fleet_in_numbers_and_nobody_in_them(
    scraper: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    Agent.objects.update(gpu_class="NVIDIA H200")
    jobs = [factories.make_job(bob_in_a, workspace) for _ in range(3)]
    factories.make_attempt(jobs[0], agent.row)

    answer = scraper.get("/metrics")

    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    text = answer.content.decode()
    samples = read(text)
    seconds = 2 * jobs[0].cost_seconds
    assert at(samples, "studio_queue_jobs", tier="fast") == 2
    assert at(samples, "studio_queue_jobs", tier="turbo") == 0
    assert at(samples, "studio_queue_gpu_seconds", tier="fast") == pytest.approx(seconds)
    assert at(samples, "studio_running_jobs", tier="fast") == 1
    h200 = {"gpu_class": "NVIDIA H200"}
    wait = at(samples, "studio_predicted_wait_seconds", tier="fast", **h200)
    assert wait == pytest.approx(seconds + jobs[0].cost_seconds, rel=0.5)
    assert at(samples, "studio_agents", condition="working", **h200) == 1
    assert at(samples, "studio_agents", condition="lost", **h200) == 0
    assert at(samples, "studio_objective_wait_seconds", tier="relax") == 300
    for secret in (
        jobs[0].pk,
        workspace.pk,
        workspace.organization_id,
        bob_in_a.user_id,
        agent.row.pk,
        PROMPT,
        "Alpha",
    ):
        assert secret not in text


def test_to_others_it_is_not_there(
    settings: Settings,
    alice: User,
    olga: User,
    organization_a: Organization,
    agent_client: Client,
    api_of: Callable[[User, Organization], Client],
    client_of: Callable[[User], Client],
) -> None:
    wrong = Client(headers={"Authorization": f"Bearer {TOKEN}"})
    empty = Client(headers={"Authorization": "Bearer "})
    for client in (Client(), wrong, empty, agent_client, client_of(olga)):
        assert client.get("/metrics").status_code == 404
    assert api_of(alice, organization_a).get("/metrics").status_code == 403
    assert api_of(olga, organization_a).get("/metrics").status_code == 200
    settings.METRICS_TOKEN = TOKEN
    assert wrong.get("/metrics").status_code == 200
    assert wrong.post("/metrics").status_code == 405
    assert empty.get("/metrics").status_code == 404


@pytest.fixture
def pulse() -> Pulse:
    return Pulse()


@pytest.fixture
def server(settings: Settings, pulse: Pulse) -> Iterator[ThreadingHTTPServer]:
    settings.METRICS_TOKEN = TOKEN
    served = serve_metrics("X", ("127.0.0.1", 0), DISPATCHER, pulse)
    assert served is not None
    yield served
    served.shutdown()
    served.server_close()


def ask(server: ThreadingHTTPServer, path: str, token: str = TOKEN) -> tuple[int, str]:
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    line.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = line.getresponse()
    return answer.status, answer.read().decode()


def test_a_process_answers_who_shows_the_token(server: ThreadingHTTPServer) -> None:
    status, text = ask(server, "/metrics")
    assert status == 200
    assert "studio_dispatches_total" in text
    assert ask(server, "/metrics", "wrong")[0] == 403
    assert ask(server, "/secrets")[0] == 404


def test_health_is_told_to_anybody(
    server: ThreadingHTTPServer, pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(server, "/healthz", "wrong") == (200, '{"alive": true}')
    status, text = ask(server, "/readyz", "wrong")
    assert (status, json.loads(text)["waiting_for"]) == (503, "its first round")
    pulse.beat()
    assert ask(server, "/readyz") == (200, '{"ready": true, "waiting_for": ""}')
    pulse.beat(waiting_for="the database")
    assert ask(server, "/healthz")[0] == 200
    assert "the database" in ask(server, "/readyz")[1]
    # A loop that has stood still for long is to be ended.
    monkeypatch.setattr(metrics, "STUCK_SECONDS", 0.0)
    assert ask(server, "/healthz") == (503, '{"alive": false}')
    assert ask(server, "/readyz")[0] == 503


@pytest.mark.usefixtures("redis")
def test_a_worker_is_well_while_its_threads_live_and_redis_answers(settings: Settings) -> None:
    broker = StubBroker()
    broker.declare_queue("default")
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    vitals = WorkerVitals(worker)
    assert (vitals.is_alive(), vitals.waiting_for()) == (True, "")
    worker.stop(timeout=5_000)
    for thread in worker.workers:
        thread.join(5)
    assert not vitals.is_alive()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert vitals.waiting_for() == "Redis"


def test_a_process_does_not_talk_to_strangers(settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    assert serve_metrics("X", None, CollectorRegistry(), Pulse()) is None
    with pytest.raises(ImproperlyConfigured, match="STUDIO_METRICS_TOKEN"):
        serve_metrics("X", ("0.0.0.0", 0), CollectorRegistry(), Pulse())  # noqa: S104  # that is the point
    served = serve_metrics("X", ("127.0.0.1", 0), DISPATCHER, Pulse())
    assert served is not None
    assert ask(served, "/metrics", "")[0] == 200
    with pytest.raises(ImproperlyConfigured, match="cannot be listened on"):
        serve_metrics("X", ("127.0.0.1", served.server_port), CollectorRegistry(), Pulse())
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize("value", ["9101", "127.0.0.1", "127.0.0.1:x", ":9101", "h:99999"])
def test_an_address_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_WORKER_METRICS", value)
    with pytest.raises(ImproperlyConfigured, match="STUDIO_WORKER_METRICS"):
        env.listening("STUDIO_WORKER_METRICS")
    monkeypatch.setenv("STUDIO_WORKER_METRICS", "127.0.0.1:9101")
    assert env.listening("STUDIO_WORKER_METRICS") == ("127.0.0.1", 9101)


def sample(name: str, **labels: str) -> float:
    return DISPATCHER.get_sample_value(name, labels) or 0.0


@pytest.mark.usefixtures("system")
def test_a_lost_lease_is_counted_once(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    attempt = factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    factories.overdue(attempt)
    lost, ended = (
        sample("studio_leases_lost_total"),
        sample("studio_attempts_ended_total", tier="fast", status="expired"),
    )
    dispatcher = Dispatcher()
    for _ in range(3):
        dispatcher.run_round()
    assert sample("studio_leases_lost_total") == lost + 1
    assert sample("studio_attempts_ended_total", tier="fast", status="expired") == ended + 1


def test_waits_are_counted_once_each(
    organization_a: Organization, agent: AgentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFollower, "EVERY_SECONDS", 0.0)
    follower = RunFollower()
    kept = sample("studio_job_wait_seconds_bucket", tier="turbo", le="2.0")
    count = sample("studio_job_wait_seconds_count", tier="turbo")
    loads = sample("studio_model_loads_total", source="gpu")
    with system_scope():
        for number, wait in enumerate([1.9, 2.1, None]):
            RunRecord.objects.create(
                organization=organization_a,
                attempt_id=f"att_{number}",
                gpu_class="cpu",
                job_type="text_to_picture",
                tier="turbo",
                model_digest="d",
                width=64,
                height=64,
                steps=1,
                pictures=1,
                status="succeeded",
                wait_seconds=wait,
                load_source="gpu",
                ended_at=timezone.now(),
            )
        assert [follower.follow() for _ in range(3)] == [3, 0, 0]
    assert sample("studio_job_wait_seconds_bucket", tier="turbo", le="2.0") == kept + 1
    assert sample("studio_job_wait_seconds_count", tier="turbo") == count + 2
    assert sample("studio_model_loads_total", source="gpu") == loads + 3


def test_background_work_is_counted() -> None:
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name="default", actor_name="sweep", args=(), kwargs={}, options={}
    )
    work = MessageProxy(message)
    counter, broker = CountWork(), dramatiq.get_broker()
    counter.before_process_message(broker, work)
    counter.after_process_message(broker, work, exception=ValueError("secret"))
    failed = {"actor": "sweep", "outcome": "failed"}
    assert WORKER.get_sample_value("studio_worker_messages_total", failed) == 1
    assert WORKER.get_sample_value("studio_worker_message_seconds_count", {"actor": "sweep"}) == 1


def test_every_metric_is_described(scraper: Client) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    families = [
        *text_string_to_metric_families(scraper.get("/metrics").content.decode()),
        *DISPATCHER.collect(),
        *WORKER.collect(),
    ]
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` |" in page, name


@pytest.mark.parametrize(
    ("timings", "error"),
    [
        ({"planned_growth_bytes": 300, "growth_bytes": 200}, 0.5),
        ({"planned_growth_bytes": 100, "growth_bytes": 200}, -0.5),
        ({"planned_growth_bytes": 100}, None),
        ({"planned_growth_bytes": "x", "growth_bytes": 200}, None),
        ({"planned_growth_bytes": 100, "growth_bytes": 0}, None),
    ],
)
def test_the_planners_error_is_what_was_planned_over_what_it_took(
    timings: dict[str, object], error: float | None
) -> None:
    assert planner_error(timings) == error
