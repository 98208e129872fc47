"""Workspaces over the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Organization, User
from accounts.roles import Permission, WorkspaceRole
from accounts.token_limits import Limits
from studio.core.scoping import system_scope
from tests import factories
from workspaces.models import Workspace, WorkspaceGrant

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(
    api_of: Callable[[User, Organization], Client], alice: User, organization_a: Organization
) -> Client:
    return api_of(alice, organization_a)


def call(client: Client, method: str, path: str, body: object = None) -> tuple[int, Any]:
    response = client.generic(method, f"/api/v1/{path}", _json(body), "application/json")
    return response.status_code, response.json() if response.content else None


def _json(body: object) -> str:
    return "" if body is None else json.dumps(body)


def test_from_making_to_bringing_back(api: Client) -> None:
    status, made = call(api, "POST", "workspaces", {"name": "Perfume", "color": "teal"})
    assert status == 201
    assert (made["name"], made["color"], made["is_restricted"]) == ("Perfume", "teal", False)
    path = f"workspaces/{made['id']}"
    status, changed = call(api, "PATCH", path, {"is_restricted": True})
    assert (status, changed["is_restricted"], changed["name"]) == (200, True, "Perfume")
    assert call(api, "GET", path)[1] == changed

    status, deleted = call(api, "DELETE", path)
    assert status == 200
    assert deleted["destroy_at"] > deleted["deleted_at"]
    assert call(api, "GET", path)[0] == 404
    assert call(api, "DELETE", path)[0] == 404
    assert made["id"] not in str(call(api, "GET", "workspaces")[1])
    (waiting,) = call(api, "GET", "workspaces?deleted=1")[1]
    assert waiting == deleted

    status, back = call(api, "POST", f"{path}/restore")
    assert (status, back) == (200, changed)
    assert call(api, "POST", f"{path}/restore")[0] == 200
    assert call(api, "GET", path)[1] == changed


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": 7}, ["name"]),
        ({"name": "x", "is_restricted": "yes"}, ["is_restricted"]),
        ({"name": "x", "wrapped_key": "00"}, ["wrapped_key"]),
        ({"name": "x", "color": None}, ["color"]),
        ({"name": "", "color": "beige"}, ["name", "color"]),
        ([], ["body"]),
    ],
)
def test_wrong_fields_are_named(api: Client, body: object, fields: list[str]) -> None:
    status, problem = call(api, "POST", "workspaces", body)
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == fields
    with system_scope():
        assert not Workspace.objects.exists()


def test_letting_in_and_out(api: Client, workspace: Workspace, bill: User, alice: User) -> None:
    path = f"workspaces/{workspace.pk}"
    status, grant = call(api, "PUT", f"{path}/grants", {"user": bill.pk, "role": "viewer"})
    assert (status, grant["user"], grant["team"], grant["role"]) == (200, bill.pk, None, "viewer")
    again = call(api, "PUT", f"{path}/grants", {"user": bill.pk, "role": "artist"})[1]
    assert again == {**grant, "role": "artist"}
    assert call(api, "GET", f"{path}/grants")[1] == [again]
    people = {person["user"]: person for person in call(api, "GET", f"{path}/access")[1]}
    assert set(people) == {alice.pk, bill.pk}
    assert people[bill.pk]["by_role"] is False
    assert people[bill.pk]["grants"] == [again]
    assert (people[bill.pk]["can_submit"], people[bill.pk]["can_manage"]) == (True, False)
    assert call(api, "DELETE", f"{path}/grants/{grant['id']}")[0] == 204
    assert call(api, "DELETE", f"{path}/grants/{grant['id']}")[0] == 204
    assert call(api, "GET", f"{path}/grants")[1] == []


def test_nobody_of_another_organization_is_let_in(
    api: Client, workspace: Workspace, charlie: User, organization_b: Organization
) -> None:
    path = f"workspaces/{workspace.pk}/grants"
    team = factories.make_team(organization_b, charlie)
    assert call(api, "PUT", path, {"user": charlie.pk, "role": "viewer"})[0] == 404
    assert call(api, "PUT", path, {"team": team.pk, "role": "viewer"})[0] == 404
    with system_scope():
        assert not WorkspaceGrant.objects.exists()


def test_a_manager_by_grant_may_manage_that_one_alone(
    workspace: Workspace,
    organization_a: Organization,
    bob: User,
    bill: User,
    api_of: Callable[[User, Organization], Client],
) -> None:
    factories.make_grant(workspace, bob, WorkspaceRole.MANAGER)
    other = factories.make_workspace(organization_a, "Other")
    bobs = api_of(bob, organization_a)
    body = {"user": bill.pk, "role": "viewer"}
    assert call(bobs, "PUT", f"workspaces/{workspace.pk}/grants", body)[0] == 200
    assert call(bobs, "PATCH", f"workspaces/{workspace.pk}", {"name": "Mine"})[0] == 200
    assert call(bobs, "PUT", f"workspaces/{other.pk}/grants", body)[0] == 403
    assert call(bobs, "DELETE", f"workspaces/{workspace.pk}")[0] == 403
    assert call(bobs, "POST", "workspaces", {"name": "Mine"})[0] == 403


def test_a_token_for_one_workspace_knows_of_no_other(
    workspace: Workspace, organization_a: Organization, alice: User
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    limits = Limits(workspace_ids=frozenset({workspace.pk}))
    token = factories.make_token(alice, organization_a, limits=limits)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    assert call(client, "GET", f"workspaces/{workspace.pk}")[0] == 200
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/restore"),
        ("GET", "/access"),
        ("GET", "/grants"),
    ):
        assert call(client, method, f"workspaces/{other.pk}{path}", {})[0] == 404
    assert call(client, "POST", "workspaces", {"name": "Mine"})[0] == 403


def test_what_is_deleted_is_for_owners_with_the_scope(
    workspace: Workspace, api: Client, alice: User, organization_a: Organization
) -> None:
    call(api, "DELETE", f"workspaces/{workspace.pk}")
    limits = Limits(scopes=frozenset({Permission.WORKSPACE_VIEW}))
    token = factories.make_token(alice, organization_a, limits=limits)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    assert call(client, "GET", "workspaces?deleted=1")[0] == 403
    assert call(client, "POST", f"workspaces/{workspace.pk}/restore")[0] == 403
