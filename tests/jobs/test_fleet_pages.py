"""Pages of the fleet: an operator's, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs.models import Agent, FleetPolicy, JoinToken, ModelPin, OrganizationShare
from jobs.services.fleet_policy import touch_policy
from library.models import ModelVersion
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def olgas(client_of: Callable[[User], Client], olga: User) -> Client:
    return client_of(olga)


@pytest.fixture
def fleet(organization_a: Organization) -> str:
    return f"/o/{organization_a.pk}/fleet"


def body(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return answer.content.decode()


def test_the_section_is_shown_to_operators_alone(
    olgas: Client,
    alice: User,
    organization_a: Organization,
    client_of: Callable[[User], Client],
    fleet: str,
) -> None:
    members = f"/o/{organization_a.pk}/members"
    assert fleet in body(olgas, members)
    assert fleet not in body(client_of(alice), members)


def test_the_board_shows_agents_and_says_what_is_missing(
    olgas: Client, fleet: str, agent: AgentHandle, model_version: ModelVersion
) -> None:
    Agent.objects.update(
        gpu_class="NVIDIA H200",
        labels=["large"],
        telemetry={
            "temperature_c": 61.0,
            "utilization": 0.5,
            "memory_used_bytes": 4 * 2**30,
            "plan_error": 0.08,
        },
        residents=[{"digest": "a", "component": "unet", "bytes": 2**30, "place": "gpu"}],
        warm=[model_version.digest],
    )
    page = body(olgas, fleet)
    for words in (
        "NVIDIA H200",
        "large",
        "61 °C",
        "50 %",
        "± 8 %",
        "1.0\xa0GB",
        "House",
        "no runs yet",
    ):
        assert words in page, words
    assert 'data-url="' + fleet + '/live"' in page
    fragment = body(olgas, fleet + "/live")
    assert "<html" not in fragment
    assert "NVIDIA H200" in fragment
    Agent.objects.all().delete()
    assert "No machine has joined yet" in body(olgas, fleet)
    assert "No machine takes work now" in body(olgas, fleet)


def test_what_an_artist_asked_for_is_nowhere(
    olgas: Client,
    fleet: str,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    job = factories.make_job(bob_in_a, workspace, prompt="a purple zeppelin")
    factories.make_attempt(job, agent.row)
    for path in ("", "/live", f"/agents/{agent.row.pk}", "/models", "/joining"):
        page = body(olgas, fleet + path)
        assert "zeppelin" not in page
        assert job.pk not in page
        assert "bob@" not in page


def test_draining_and_back(olgas: Client, fleet: str, agent: AgentHandle) -> None:
    address = f"{fleet}/agents/{agent.row.pk}/state"
    answer = olgas.post(address, {"state": "draining"})
    assert answer["Location"] == fleet
    page = body(olgas, fleet)
    assert "Take work again" in page
    assert "gets nothing more" in page
    answer = olgas.post(address, {"state": "serving", "from": "agent"})
    assert answer["Location"] == f"{fleet}/agents/{agent.row.pk}"
    assert "takes work again." in body(olgas, answer["Location"])
    olgas.post(address, {"state": "asleep"})
    assert "&#x27;asleep&#x27; is none" in body(olgas, fleet)


def test_labels_that_cannot_be_stay_written(olgas: Client, fleet: str, agent: AgentHandle) -> None:
    address = f"{fleet}/agents/{agent.row.pk}/labels"
    answer = olgas.post(address, {"labels": "good, b@d"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="good, b@d"' in page
    assert "&#x27;b@d&#x27; is no label" in page
    assert olgas.post(address, {"labels": "good, better"}).status_code == 302
    assert Agent.objects.get().labels == ["better", "good"]


def test_removing_asks_that_it_has_finished(
    olgas: Client,
    fleet: str,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    attempt = factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    address = f"{fleet}/agents/{agent.row.pk}/remove"
    assert "still works on 1 job" in olgas.post(address, follow=True).content.decode()
    factories.run_attempt(attempt, agent.row)
    assert "local was removed" in olgas.post(address, follow=True).content.decode()
    assert olgas.post(address).status_code == 404
    body(olgas, f"{fleet}/agents/{agent.row.pk}", 404)


def test_a_model_is_pinned_and_let_go(
    olgas: Client, fleet: str, agent: AgentHandle, model_version: ModelVersion
) -> None:
    address = f"{fleet}/models/{model_version.pk}"
    answer = olgas.post(address, {"agents": "many", "label": "UP"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="many"' in page
    assert "Give a whole number." in page
    page = olgas.post(address, {"agents": "2", "label": ""}, follow=True).content.decode()
    assert "kept warm on 2 agents" in page
    assert "0 of 2 so far" in page
    olgas.post(address, {"unpin": "1", "agents": "2"})
    assert not ModelPin.objects.exists()


def test_the_policy_keeps_what_was_written(olgas: Client, fleet: str) -> None:
    fields = {f"reserved_shares.{t}": "" for t in ("turbo", "fast", "relax", "background")}
    wrong = {**fields, "reserved_shares.fast": "lots", "floor_agents": "2", "floor_seconds": ""}
    answer = olgas.post(fleet + "/sharing/policy", wrong)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="lots"' in page
    assert "must be a number from" in page
    assert not FleetPolicy.objects.exists()
    right = {**wrong, "reserved_shares.fast": "12,5", "window_seconds": "30"}
    assert olgas.post(fleet + "/sharing/policy", right).status_code == 302
    row = FleetPolicy.objects.get()
    assert row.reserved_shares == {"fast": 0.125}
    assert (row.floor_agents, row.floor_seconds, row.window_seconds) == (2, None, 30)
    page = body(olgas, fleet + "/sharing")
    assert 'value="30"' in page
    assert 'value="12.5"' in page
    answer = olgas.post(fleet + "/sharing/policy", {**fields, "reserved_shares.turbo": "80"})
    assert "The reserves add up to" in answer.content.decode()


def seen_in(page: str) -> str:
    found = re.search(r'name="seen" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def test_two_operators_do_not_undo_each_other_by_chance(olgas: Client, fleet: str) -> None:
    # Given: both have the page open, and one saves; a pin is no change of these settings.
    seen = seen_in(body(olgas, f"{fleet}/sharing"))
    touch_policy()
    answer = olgas.post(f"{fleet}/sharing/policy", {"floor_agents": "2", "seen": seen})
    assert answer.status_code == 302
    # When: the other saves what they have in front of them.
    late = {"window_seconds": "30", "seen": seen}
    answer = olgas.post(f"{fleet}/sharing/policy", late)
    page = answer.content.decode()
    # Then: nothing is lost, neither the first's settings nor what the second wrote;
    assert answer.status_code == 422
    assert "Another operator has changed these settings" in page
    assert 'value="30"' in page
    policy = FleetPolicy.objects.get()
    assert (policy.floor_agents, policy.window_seconds) == (2, None)
    # who has read that may save.
    answer = olgas.post(f"{fleet}/sharing/policy", {**late, "seen": seen_in(page)})
    assert answer.status_code == 302
    policy.refresh_from_db()
    assert (policy.floor_agents, policy.window_seconds) == (None, 30)


def test_a_pin_to_a_label_that_no_agent_has_says_so(
    olgas: Client, fleet: str, agent: AgentHandle, model_version: ModelVersion
) -> None:
    Agent.objects.update(warm=[model_version.digest], labels=["eu"])
    pin = f"{fleet}/models/{model_version.pk}"
    olgas.post(pin, {"agents": "1", "label": "large"})
    page = body(olgas, f"{fleet}/models")
    assert "0 of 1 so far: no agent has the label large" in page
    # An agent with the label counts while it takes work.
    olgas.post(pin, {"agents": "1", "label": "eu"})
    assert "so far" not in body(olgas, f"{fleet}/models")
    Agent.objects.update(state="maintenance")
    assert "0 of 1 so far" in body(olgas, f"{fleet}/models")


def test_an_organizations_part_is_set(
    olgas: Client, fleet: str, organization_b: Organization
) -> None:
    address = f"{fleet}/sharing/{organization_b.pk}"
    answer = olgas.post(address, {"weight": "0", "jobs_at_once": "x"})
    assert answer.status_code == 422
    assert 'value="x"' in answer.content.decode()
    given = {"weight": "2", "jobs_at_once": "4", "jobs_at_once_per_member": ""}
    assert olgas.post(address, given).status_code == 302
    with system_scope():
        share = OrganizationShare.objects.get(organization=organization_b)
    assert (share.weight, share.jobs_at_once, share.jobs_at_once_per_member) == (2, 4, None)
    assert "Beta" in body(olgas, fleet + "/sharing")
    assert olgas.post(f"{fleet}/sharing/org_x", given).status_code == 404


def test_a_join_token_is_shown_once(olgas: Client, fleet: str) -> None:
    answer = olgas.post(f"{fleet}/joining/new", {"uses": "0", "hours": "24", "labels": "a b@"})
    assert answer.status_code == 422
    assert 'value="a b@"' in answer.content.decode()
    answer = olgas.post(f"{fleet}/joining/new", {"uses": "3", "hours": "2", "labels": "large"})
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    page = answer.content.decode()
    assert "python -m gpuagent join --url http" in page
    assert "--token stj_" in page
    assert "stj_" not in body(olgas, fleet + "/joining")
    token = JoinToken.objects.get()
    assert (token.uses_left, token.labels) == (3, ["large"])
    olgas.post(f"{fleet}/joining/{token.pk}/revoke")
    assert "Revoked" in body(olgas, fleet + "/joining")


@pytest.mark.parametrize("who", ["alice", "bob", "victor"])
def test_nobody_else_opens_any_of_it(
    who: str,
    request: pytest.FixtureRequest,
    client_of: Callable[[User], Client],
    fleet: str,
    agent: AgentHandle,
) -> None:
    client = client_of(request.getfixturevalue(who))
    for path in ("", "/live", f"/agents/{agent.row.pk}", "/models", "/sharing", "/joining"):
        assert client.get(fleet + path).status_code == 403
    for path in (f"/agents/{agent.row.pk}/state", f"/agents/{agent.row.pk}/remove", "/joining/new"):
        assert client.post(fleet + path, {"state": "draining"}).status_code == 403
    agent.row.refresh_from_db()
    assert agent.row.state == "serving"
    assert not JoinToken.objects.exists()


def test_an_operator_of_elsewhere_does_not_get_in_through_another_organization(
    olgas: Client, organization_b: Organization
) -> None:
    assert olgas.get(f"/o/{organization_b.pk}/fleet").status_code == 404
