"""What operators do to agents, what agents say of themselves, and the history of both."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent
from accounts.roles import Permission
from gpuagent.protocol.messages import Register
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import AttemptStatus, JobStatus
from jobs.models import Agent, FleetEvent, Job, JobAttempt
from jobs.selectors import accepting_agents, count_agents
from jobs.services.claiming import claim_attempt
from jobs.services.fleet import create_agent, find_agent, hear_heartbeat, register_agent
from jobs.services.fleet_agents import get_agent, name_of, remove_agent, set_labels, set_state
from jobs.services.fleet_events import watch_fleet
from jobs.services.fleet_reports import read_residents, read_telemetry
from library.models import ModelVersion
from studio.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "redis")]


def codes(agent: Agent) -> list[str]:
    return list(
        FleetEvent.objects.filter(agent=agent).order_by("pk").values_list("code", flat=True)
    )


def beat(agent: Agent, **changes: Any) -> None:  # noqa: ANN401  # fields of a heartbeat
    agent.refresh_from_db()
    hear_heartbeat(agent, replace(factories.make_heartbeat(agent), **changes))
    agent.refresh_from_db()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"state": "draining"},
        {"state": "maintenance"},
        {"is_draining": True},
        {"sick_code": "ecc_errors"},
        {"removed_at": timezone.now()},
    ],
)
def test_the_row_and_the_query_agree_on_who_takes_work(
    agent: AgentHandle, change: dict[str, object]
) -> None:
    Agent.objects.filter(pk=agent.row.pk).update(**change)
    agent.row.refresh_from_db()
    assert agent.row.is_accepting is (not change)
    assert accepting_agents().filter(pk=agent.row.pk).exists() is agent.row.is_accepting


def test_a_draining_agent_finishes_and_gives_back_what_it_has_not_begun(
    operator: Actor,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    first, second = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    running, staged = (factories.make_attempt(job, agent.row) for job in (first, second))
    claim_attempt(agent.row, running.pk, fence=running.fence, boot_id=running.boot_id)
    beat(agent.row)

    set_state(actor=operator, agent_id=agent.row.pk, state="draining")

    staged.refresh_from_db()
    running.refresh_from_db()
    second.refresh_from_db()
    assert (staged.status, running.status) == (AttemptStatus.EXPIRED, AttemptStatus.LEASED)
    assert (second.status, second.attempts_counted) == (JobStatus.QUEUED, 0)
    with pytest.raises(ConflictError):
        claim_attempt(agent.row, staged.pk, fence=staged.fence, boot_id=staged.boot_id)
    assert Dispatcher().run_round() == 0
    assert watch_fleet() == 0
    factories.run_attempt(running, agent.row)
    assert watch_fleet() == 1
    assert watch_fleet() == 0
    first.refresh_from_db()
    assert first.status == JobStatus.SUCCEEDED
    assert codes(agent.row) == ["agent.draining", "agent.drained"]
    event = FleetEvent.objects.get(code="agent.draining")
    assert (event.data, event.by_id) == ({"given_back": 1}, operator.user_id)

    set_state(actor=operator, agent_id=agent.row.pk, state="serving")
    beat(agent.row)
    assert Dispatcher().run_round() == 1
    set_state(actor=operator, agent_id=agent.row.pk, state="draining")
    watch_fleet()
    assert codes(agent.row)[2:] == ["agent.serving", "agent.draining", "agent.drained"]
    logged = AuditEvent.objects.filter(object_id=agent.row.pk, action="agent.state_changed")
    assert [e.details for e in logged.order_by("id")] == [
        {"state": "draining"},
        {"state": "serving"},
        {"state": "draining"},
    ]


def test_maintenance_outlives_the_process(operator: Actor, agent: AgentHandle) -> None:
    set_state(actor=operator, agent_id=agent.row.pk, state="maintenance")
    agent.row.refresh_from_db()
    message = Register(boot_id="boot-2", fingerprint={}, device="cpu", memory_bytes=1)
    register_agent(agent.row, message)
    beat(agent.row)
    assert agent.row.state == "maintenance"
    assert count_agents() == (0, 0)
    set_state(actor=operator, agent_id=agent.row.pk, state="serving")
    assert count_agents() == (1, 1)


def test_the_same_state_again_is_no_news(operator: Actor, agent: AgentHandle) -> None:
    for _ in range(2):
        set_state(actor=operator, agent_id=agent.row.pk, state="draining")
    assert codes(agent.row) == ["agent.draining"]
    with pytest.raises(InvalidInputError, match=r"input\.invalid"):
        set_state(actor=operator, agent_id=agent.row.pk, state="asleep")


def test_labels_are_the_operators_once_it_has_been_here(
    operator: Actor, agent: AgentHandle
) -> None:
    set_labels(actor=operator, agent_id=agent.row.pk, labels=["Large", "large", " eu "])
    agent.row.refresh_from_db()
    register_agent(
        agent.row,
        Register(boot_id="b2", fingerprint={}, device="", memory_bytes=1, labels=("other",)),
    )
    assert agent.row.labels == ["eu", "large"]
    for wrong in (["a b"], ["-x"], ["x" * 41], [f"l{n}" for n in range(17)]):
        with pytest.raises(InvalidInputError):
            set_labels(actor=operator, agent_id=agent.row.pk, labels=wrong)
    agent.row.refresh_from_db()
    assert agent.row.labels == ["eu", "large"]
    assert codes(agent.row) == ["agent.labels_changed", "agent.registered"]


def test_one_that_works_is_not_removed_and_one_that_is_opens_nothing(
    operator: Actor,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    attempt = factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    with pytest.raises(ConflictError) as caught:
        remove_agent(actor=operator, agent_id=agent.row.pk)
    assert "still works on 1 job." in caught.value.message
    factories.run_attempt(attempt, agent.row)

    remove_agent(actor=operator, agent_id=agent.row.pk)

    assert find_agent(agent.token) is None
    assert count_agents() == (0, 0)
    agent.row.refresh_from_db()
    assert name_of(agent.row) == "local"
    assert len(agent.row.name) <= 80
    with pytest.raises(NotFoundError):
        remove_agent(actor=operator, agent_id=agent.row.pk)
    with pytest.raises(NotFoundError):
        set_state(actor=operator, agent_id=agent.row.pk, state="serving")
    again, _token = create_agent("local", is_local=True)
    assert again.pk != agent.row.pk
    assert JobAttempt.objects.filter(agent=agent.row).count() == 1
    assert Job.objects.count() == 1


def test_who_is_no_operator_does_nothing(alice_in_a: Actor, agent: AgentHandle) -> None:
    agent_id = agent.row.pk
    with pytest.raises(ForbiddenError):
        get_agent(alice_in_a, agent_id, permission=Permission.FLEET_VIEW)
    with pytest.raises(ForbiddenError):
        set_state(actor=alice_in_a, agent_id=agent_id, state="draining")
    with pytest.raises(ForbiddenError):
        set_labels(actor=alice_in_a, agent_id=agent_id, labels=[])
    with pytest.raises(ForbiddenError):
        remove_agent(actor=alice_in_a, agent_id=agent_id)
    assert not FleetEvent.objects.exists()


def test_silence_and_its_end_are_noted_once(agent: AgentHandle) -> None:
    assert watch_fleet() == 0
    past = timezone.now() - timedelta(minutes=1)
    Agent.objects.filter(pk=agent.row.pk).update(last_seen_at=past)
    assert (watch_fleet(), watch_fleet()) == (1, 0)
    beat(agent.row)
    beat(agent.row)
    assert codes(agent.row) == ["agent.lost", "agent.returned"]
    Agent.objects.filter(pk=agent.row.pk).update(last_seen_at=past, is_draining=True)
    FleetEvent.objects.update(at=past - timedelta(minutes=1))
    watch_fleet()
    assert codes(agent.row)[-1] == "agent.stopped"


def test_one_that_leaves_or_is_sick_says_so_once(agent: AgentHandle) -> None:
    beat(agent.row, sick_code="ECC errors")
    beat(agent.row, sick_code="ECC errors")
    assert agent.row.sick_code == "ecc_errors"
    assert not agent.row.is_accepting
    beat(agent.row)
    beat(agent.row, leaving=True)
    beat(agent.row, leaving=True)
    assert codes(agent.row) == ["agent.sick", "agent.well", "agent.leaving"]
    assert FleetEvent.objects.get(code="agent.sick").data == {"code": "ecc_errors"}
    beat(agent.row, sick_code="<script>")
    assert agent.row.sick_code == "unknown"


def test_what_it_says_of_itself_is_kept_within_bounds(agent: AgentHandle) -> None:
    telemetry: dict[str, object] = {
        "temperature_c": 61,
        "power_w": 10**30,
        "utilization": 1.7,
        "memory_used_bytes": "much",
        "throttled": ["SW Thermal", 5, "x" * 100, *["more"] * 50],
        "prompt": "a blue car",
    }
    residents: tuple[dict[str, object], ...] = (
        {"digest": "a" * 64, "component": "unet", "bytes": 5, "place": "gpu", "name": "secret"},
        {"digest": "a" * 64, "component": "unet", "bytes": -5, "place": "host"},
        {"digest": "a" * 64, "component": "unet", "bytes": 5, "place": "moon"},
        {"digest": "../x", "component": "unet", "bytes": 5, "place": "gpu"},
        {},
    )
    beat(agent.row, telemetry=telemetry, residents=residents)
    read = agent.row.telemetry
    assert {name: read[name] for name in ("temperature_c", "power_w", "utilization")} == {
        "temperature_c": 61.0,
        "power_w": 5_000.0,
        "utilization": 1.0,
    }
    assert read["throttled"][:2] == ["sw_thermal", "x" * 64]
    assert len(read["throttled"]) == 8
    assert set(read) == {"temperature_c", "power_w", "utilization", "throttled"}
    assert agent.row.residents == [
        {"digest": "a" * 64, "component": "unet", "bytes": 5, "place": "gpu"},
        {"digest": "a" * 64, "component": "unet", "bytes": 0, "place": "host"},
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, None, "5", [], {}])
def test_what_is_no_number_is_left_out(value: object) -> None:
    assert read_telemetry({"temperature_c": value, "throttled": value}) in (
        {},
        {"throttled": []},
    )


def test_no_more_residents_than_fit() -> None:
    one: dict[str, object] = {"digest": "a", "component": "unet", "bytes": 1, "place": "gpu"}
    assert len(read_residents([one] * 5_000)) == 200
