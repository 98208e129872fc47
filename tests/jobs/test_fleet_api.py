"""The fleet over the API: what the pages do, and who may."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import Organization, User
from accounts.roles import Permission
from accounts.token_limits import Limits
from jobs.models import Agent, FleetEvent, FleetPolicy, JoinToken
from jobs.services.fleet import find_agent
from library.models import ModelVersion
from tests import factories
from tests.answers import Answer
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
FLEET = "/api/v1/fleet"


@pytest.fixture
def olgas(
    api_of: Callable[[User, Organization], Client], olga: User, organization_a: Organization
) -> Client:
    return api_of(olga, organization_a)


def send(client: Client, method: str, path: str, body: object = None) -> Answer:
    content = json.dumps({} if body is None else body)
    return client.generic(method, FLEET + path, content, "application/json")


def test_the_fleet_in_numbers(
    olgas: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    factories.make_attempt(job, agent.row)
    factories.make_job(bob_in_a, workspace)

    state = olgas.get(FLEET).json()
    [one] = olgas.get(FLEET + "/agents").json()

    assert state["agents"] == {"working": 1}
    fast = next(tier for tier in state["tiers"] if tier["tier"] == "fast")
    assert (fast["queued"], fast["running"], fast["last_hour"]) == (1, 1, None)
    assert (fast["objective_wait_seconds"], fast["objective_whole_seconds"]) == (10, 25)
    assert fast["predicted_wait_seconds"] > 0
    [load] = state["classes"]
    assert load["queued_seconds"]["fast"] == pytest.approx(fast["queued_seconds"])
    assert one["work"][0]["status"] == "staged"
    assert olgas.get(f"{FLEET}/agents/{agent.row.pk}").json()["id"] == one["id"]
    for text in (json.dumps(state), json.dumps(one)):
        for secret in (job.pk, workspace.pk, bob_in_a.user_id, PROMPT, bob_in_a.organization_id):
            assert secret not in text


def test_an_agent_is_drained_labeled_and_removed(olgas: Client, agent: AgentHandle) -> None:
    path = f"/agents/{agent.row.pk}"
    answer = send(olgas, "PATCH", path, {"state": "maintenance", "labels": ["large"]})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["condition"]) == ("maintenance", "maintenance")
    assert answer.json()["labels"] == ["large"]
    events = olgas.get(FLEET + "/events").json()
    assert [event["code"] for event in events] == ["agent.maintenance", "agent.labels_changed"]
    assert olgas.get(f"{FLEET}/events?before={events[0]['id']}").json() == events[1:]
    assert send(olgas, "DELETE", path).status_code == 204
    assert send(olgas, "DELETE", path).status_code == 404
    assert find_agent(agent.token) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"state": "asleep", "labels": ["new"]}, "state"),
        ({"state": 5}, "state"),
        ({"labels": ["b@d"]}, "labels"),
        ({"labels": "large"}, "labels"),
        ({"labels": [5]}, "labels"),
        ({"name": "x"}, "name"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(
    olgas: Client, agent: AgentHandle, body: dict[str, Any], field: str
) -> None:
    answer = send(olgas, "PATCH", f"/agents/{agent.row.pk}", body)
    assert answer.status_code == 422
    assert [error["field"] for error in problem(answer)["errors"]] == [field]
    agent.row.refresh_from_db()
    assert (agent.row.state, agent.row.labels) == ("serving", [])
    assert not FleetEvent.objects.exists()


def test_pins(olgas: Client, model_version: ModelVersion) -> None:
    path = f"/pins/{model_version.pk}"
    answer = send(olgas, "PUT", path, {"agents": 2, "label": "large"})
    assert answer.status_code == 200
    assert answer.json()["digest"] == model_version.digest
    assert olgas.get(FLEET + "/pins").json() == [answer.json()]
    for body in ({"agents": True}, {"agents": "2"}, {"agents": 0}, {"more": 1}):
        assert send(olgas, "PUT", path, body).status_code == 422
    assert send(olgas, "DELETE", path).status_code == 204
    assert send(olgas, "DELETE", path).status_code == 204
    assert olgas.get(FLEET + "/pins").json() == []


def test_a_private_models_pin_is_listed_to_its_organization_alone(
    olgas: Client,
    olga: User,
    organization_b: Organization,
    api_of: Callable[[User, Organization], Client],
    tmp_path: Path,
) -> None:
    folder = factories.make_tiny_folder(tmp_path / "b", weights=b"theirs")
    theirs = factories.make_model_version(organization=organization_b, folder=folder, name="Own")
    carl = factories.make_member(organization_b)
    User.objects.filter(pk=carl.pk).update(is_operator=True)
    there = api_of(carl, organization_b)
    assert send(there, "PUT", f"/pins/{theirs.pk}", {"agents": 1}).status_code == 200
    assert len(there.get(FLEET + "/pins").json()) == 1
    assert olgas.get(FLEET + "/pins").json() == []


def test_shares_and_policy(olgas: Client, organization_b: Organization) -> None:
    answer = send(olgas, "PATCH", f"/shares/{organization_b.pk}", {"weight": 2, "jobs_at_once": 3})
    assert answer.status_code == 200
    listed = {row["name"]: row for row in olgas.get(FLEET + "/shares").json()}
    assert listed["Beta"] == answer.json()
    assert listed["Alpha"]["weight"] == 1
    assert send(olgas, "PATCH", "/shares/org_x", {"weight": 2}).status_code == 404
    assert send(olgas, "PATCH", f"/shares/{organization_b.pk}", {"weight": -2}).status_code == 422
    answer = send(olgas, "PATCH", "/policy", {"reserved_shares": {"fast": 0.3}, "floor_agents": 1})
    assert answer.json()["reserved_shares"] == {"fast": 0.3}
    assert olgas.get(FLEET + "/policy").json() == answer.json()
    send(olgas, "PATCH", "/policy", {"floor_agents": None})
    assert FleetPolicy.objects.get().floor_agents is None


def test_join_tokens_are_told_once(olgas: Client) -> None:
    answer = send(olgas, "POST", "/join-tokens", {"uses": 2, "hours": 1, "labels": ["large"]})
    assert answer.status_code == 201
    made = answer.json()
    assert made["command"].endswith(f" --token {made['token']}")
    listed = olgas.get(FLEET + "/join-tokens")
    assert made["token"] not in listed.content.decode()
    assert listed.json()[0]["can_join"]
    machine = Client(headers={"Authorization": f"Bearer {made['token']}"})
    assert post(machine, "/agent/v1/join", {"name": "gpu"}).status_code == 201
    assert Agent.objects.get(name="gpu").labels == ["large"]
    assert send(olgas, "DELETE", f"/join-tokens/{made['id']}").status_code == 204
    assert post(machine, "/agent/v1/join", {"name": "gpu"}).status_code == 403
    for body in ({"uses": "2"}, {"uses": True}, {"hours": 10**9}, {"labels": "x"}, {"x": 1}):
        assert send(olgas, "POST", "/join-tokens", body).status_code == 422
    assert JoinToken.objects.count() == 1


def test_a_token_that_may_only_look_changes_nothing(
    olga: User, organization_a: Organization, agent: AgentHandle
) -> None:
    limits = Limits(scopes=frozenset({Permission.FLEET_VIEW}))
    token = factories.make_token(olga, organization_a, limits=limits)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    assert client.get(FLEET).status_code == 200
    answer = send(client, "PATCH", f"/agents/{agent.row.pk}", {"state": "draining"})
    assert answer.status_code == 403
    assert "fleet:manage" in problem(answer)["detail"]
    assert send(client, "POST", "/join-tokens").status_code == 403


def test_owners_are_no_operators(
    alice: User,
    organization_a: Organization,
    api_of: Callable[[User, Organization], Client],
    agent: AgentHandle,
) -> None:
    client = api_of(alice, organization_a)
    for path in (
        "",
        "/agents",
        f"/agents/{agent.row.pk}",
        "/events",
        "/pins",
        "/shares",
        "/policy",
    ):
        assert client.get(FLEET + path).status_code == 403
