"""The API for tokens: who am I; make, list, rotate and revoke one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiToken, Organization, User
from accounts.token_limits import Limits
from tests import factories
from tests.answers import Answer
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
TOKENS = "/api/v1/tokens"


def program(plain: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {plain}"})


def post(api: Client, address: str, body: object = None) -> Answer:
    return api.post(address, body, "application/json")


def test_who_am_i(bob: User, organization_a: Organization, workspace: Workspace) -> None:
    limits = Limits(
        scopes=frozenset({"job:view", "member:manage"}),
        workspace_ids=frozenset({workspace.pk}),
        requests_per_minute=9,
    )
    api = program(factories.make_token(bob, organization_a, name="Farm", limits=limits))

    answer = api.get("/api/v1/me")

    me = answer.json()
    assert answer["Cache-Control"] == "no-store"
    assert me["user"] == {"id": bob.pk, "name": "", "email": bob.email, "is_service": False}
    assert me["organization"] == {"id": organization_a.pk, "name": "Alpha"}
    assert (me["role"], me["rights"]) == ("artist", ["job:view"])
    assert me["token"]["scopes"] == ["job:view", "member:manage"]
    assert me["token"]["workspace_ids"] == [workspace.pk]
    assert me["token"]["requests_per_minute"] == 9
    assert me["token"]["expires_at"] is None
    assert api.post("/api/v1/me").status_code == 405


def test_make_list_rotate_revoke(bob_api: Client, workspace: Workspace) -> None:
    body = {
        "name": "Farm",
        "scopes": ["workspace:view"],
        "workspace_ids": [workspace.pk],
        "requests_per_minute": 30,
    }
    answer = post(bob_api, TOKENS, body)
    made = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert {key: made[key] for key in body} == body
    assert program(made["token"]).get("/api/v1/workspaces").status_code == 200

    rotated = post(bob_api, f"{TOKENS}/{made['id']}/rotate")
    fresh = rotated.json()
    assert rotated.status_code == 201
    assert fresh["token"] != made["token"]
    assert {key: fresh[key] for key in body} == body
    assert post(bob_api, f"{TOKENS}/{made['id']}/rotate").status_code == 409

    listed = {entry["id"]: entry for entry in bob_api.get(TOKENS).json()}
    assert listed[made["id"]]["successor"] == fresh["id"]
    assert all("token" not in entry for entry in listed.values())

    assert bob_api.delete(f"{TOKENS}/{fresh['id']}").status_code == 204
    assert bob_api.delete(f"{TOKENS}/{fresh['id']}").status_code == 204
    assert program(fresh["token"]).get("/api/v1/workspaces").status_code == 401
    assert post(bob_api, f"{TOKENS}/{fresh['id']}/rotate").status_code == 404


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": 3}, ["name"]),
        ({"name": "x", "scopes": "all"}, ["scopes"]),
        ({"name": "x", "scopes": [1], "workspace_ids": {}}, ["scopes", "workspace_ids"]),
        ({"name": "x", "requests_per_minute": True}, ["requests_per_minute"]),
        ({"name": "x", "requests_per_minute": 0.5}, ["requests_per_minute"]),
        ({"name": "x", "expires_at": "soon"}, ["expires_at"]),
        ({"name": "x", "expires_at": 5}, ["expires_at"]),
        ({"name": "x", "expires_at": "2020-01-01"}, ["expires_at"]),
        ({"name": "x", "expires_at": "9999-12-31T23:59:59-20:00"}, ["expires_at"]),
        ({"name": "x", "scope": []}, ["scope"]),
        ({"name": "x", "workspace_ids": ["wsp_x"]}, ["workspace_ids"]),
        ({"name": "x", "scopes": ["job:steal"]}, ["scopes"]),
        ([], ["body"]),
    ],
)
def test_every_wrong_field_is_named_and_nothing_made(
    bob_api: Client, body: object, fields: list[str]
) -> None:
    before = ApiToken.objects.count()
    answer = post(bob_api, TOKENS, body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == fields
    assert ApiToken.objects.count() == before


def test_a_limited_token_gets_no_more_by_making_or_rotating(
    bob: User, organization_a: Organization, workspace: Workspace
) -> None:
    factories.make_token(bob, organization_a, name="all powers")
    powers = ApiToken.objects.get(name="all powers")
    limits = Limits(scopes=frozenset({"job:view", "token:manage_own"}))
    api = program(factories.make_token(bob, organization_a, name="small", limits=limits))

    made = post(api, TOKENS, {"name": "x"})
    rotated = post(api, f"{TOKENS}/{powers.pk}/rotate")

    for answer in (made, rotated):
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["scopes"]
        assert "stu_" not in answer.content.decode()
    powers.refresh_from_db()
    assert powers.successor_id is None
    own = ApiToken.objects.get(name="small")
    assert post(api, f"{TOKENS}/{own.pk}/rotate").status_code == 201, "itself it may"


def test_tokens_of_others_are_not_there(
    bob_api: Client, alice: User, organization_a: Organization
) -> None:
    factories.make_token(alice, organization_a, name="of Alice")
    hers = ApiToken.objects.get(name="of Alice")
    assert hers.pk not in bob_api.get(TOKENS).content.decode()
    for answer in (
        bob_api.delete(f"{TOKENS}/{hers.pk}"),
        post(bob_api, f"{TOKENS}/{hers.pk}/rotate"),
    ):
        assert answer.status_code == 404
    hers.refresh_from_db()
    assert hers.revoked_at is None
    assert hers.successor_id is None


def test_a_body_nested_without_end_is_refused(bob_api: Client) -> None:
    deep: Any = "[" * 100_000
    assert bob_api.post(TOKENS, deep, content_type="application/json").status_code in (400, 422)


def test_a_service_account_asks_who_it_is(
    organization_a: Organization, api_of: Callable[[User, Organization], Client]
) -> None:
    robot = factories.make_member(organization_a, name="Farm")
    User.objects.filter(pk=robot.pk).update(is_service=True)
    assert api_of(robot, organization_a).get("/api/v1/me").json()["user"]["is_service"] is True
