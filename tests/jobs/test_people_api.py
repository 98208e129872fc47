"""People in the API."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import Invitation, Membership, Organization, User
from accounts.roles import Role
from studio.core.scoping import organization_scope
from tests import factories
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture
def api(
    api_of: Callable[[User, Organization], Client], alice: User, organization_a: Organization
) -> Client:
    return api_of(alice, organization_a)


def test_members_page_by_page_and_by_search(
    api: Client, organization_a: Organization, alice: User
) -> None:
    made = [factories.make_member(organization_a, name=f"Person {n}").pk for n in range(60)]
    first = api.get("/api/v1/members").json()
    second = api.get("/api/v1/members", {"before": first["next"]}).json()
    ids = [m["id"] for m in first["results"] + second["results"]]
    assert len(first["results"]) == 50
    assert second["next"] is None
    assert sorted(ids) == sorted([*made, alice.pk])
    assert [m["id"] for m in api.get("/api/v1/members?q=alice").json()["results"]] == [alice.pk]


def test_a_member_is_read_changed_and_removed(api: Client, bob: User, alice: User) -> None:
    path = f"/api/v1/members/{bob.pk}"
    assert api.get(path).json()["role"] == "artist"
    assert api.patch(path, {"role": "viewer"}, JSON).json()["role"] == "viewer"
    answer = api.patch(path, {"role": "king"}, JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "role"
    answer = api.patch(f"/api/v1/members/{alice.pk}", {"role": "artist"}, JSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "member.last_owner")
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.delete(path).status_code == 404


def test_an_admins_token_does_not_reach_owners(
    api_of: Callable[[User, Organization], Client], organization_a: Organization, alice: User
) -> None:
    ada = factories.make_member(organization_a, Role.ADMIN)
    api, path = api_of(ada, organization_a), f"/api/v1/members/{alice.pk}"
    for answer in (
        api.patch(path, {"role": "artist"}, JSON),
        api.delete(path),
        api.post("/api/v1/invitations", {"emails": ["x@y.example"], "role": "owner"}, JSON),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "member.above")


def test_invitations_from_first_to_last(api: Client, alice_in_a: Actor) -> None:
    body = {"emails": ["a@example.org", "b@example.org"], "role": "artist"}
    made = api.post("/api/v1/invitations", body, JSON)
    assert made.status_code == 201
    assert "key" not in made.content.decode(), "the link is in the letter alone"
    first, kept = (i["id"] for i in made.json()["results"])
    ids = {first, kept}
    assert {i["id"] for i in api.get("/api/v1/invitations").json()["results"]} == ids
    assert api.post(f"/api/v1/invitations/{first}/resend").status_code == 200
    assert api.post(f"/api/v1/invitations/{first}/revoke").status_code == 204
    assert api.post(f"/api/v1/invitations/{first}/revoke").status_code == 204
    assert api.post(f"/api/v1/invitations/{first}/resend").status_code == 404
    assert [i["id"] for i in api.get("/api/v1/invitations").json()["results"]] == [kept]
    again = api.post("/api/v1/invitations", {**body, "emails": ["b@example.org"]}, JSON)
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "invited")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({"emails": "a@example.org", "role": "artist"}, "emails"),
        ({"emails": [1], "role": "artist"}, "emails"),
        ({"emails": ["a@example.org"], "role": 7}, "role"),
        ({"emails": ["a@example.org"]}, "role"),
        ({"emails": ["a@example.org"], "role": "artist", "team": "tea_x"}, "team"),
        ({"emails": ["a@example.org"], "role": "artist", "link": "x"}, "link"),
        ({"emails": ["a\x00@example.org"], "role": "artist"}, "emails"),
    ],
)
def test_a_wrong_body_is_named_by_field(
    api: Client, organization_a: Organization, body: object, field: str
) -> None:
    answer = api.post("/api/v1/invitations", body, JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    with organization_scope(organization_a.pk):
        assert not Invitation.objects.exists()


def test_teams_and_their_members(api: Client, bob: User, victor: User, charlie: User) -> None:
    made = api.post("/api/v1/teams", {"name": "Autumn", "members": [bob.pk]}, JSON)
    assert made.status_code == 201
    path = f"/api/v1/teams/{made.json()['id']}"
    assert api.patch(path, {"name": "Winter"}, JSON).json()["members"] == [bob.pk]
    changed = api.patch(path, {"members": [victor.pk]}, JSON).json()
    assert (changed["name"], changed["members"]) == ("Winter", [victor.pk])
    answer = api.patch(path, {"members": [charlie.pk]}, JSON)
    assert answer.json()["errors"][0]["field"] == "members"
    assert api.get("/api/v1/teams").json()["results"] == [changed]
    assert api.get(path).json() == changed
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_service_accounts(api: Client, organization_a: Organization) -> None:
    body = {"name": "Farm", "role": "artist"}
    made = api.post("/api/v1/service-accounts", body, JSON)
    assert made.status_code == 201
    assert api.get("/api/v1/service-accounts").json()["results"] == [made.json()]
    assert made.json()["id"] not in api.get("/api/v1/members").content.decode()
    assert Membership.objects.get(user_id=made.json()["id"]).organization == organization_a
    assert api.post("/api/v1/service-accounts", {**body, "role": "owner"}, JSON).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "teams", {"name": "\ud800"}),
        ("POST", "teams", {"name": "x", "members": ["\udfff"]}),
        ("POST", "workspaces", {"name": "a\ud800b"}),
        ("POST", "jobs", {"prompt": "\ud83d"}),
        ("POST", "tokens", {"name": "x", "scopes": ["\ud800"]}),
        ("POST", "shares", {"\ud800": 1}),
        ("PATCH", "members/usr_1", {"role": "\ud800"}),
    ],
)
def test_half_of_a_character_is_refused_and_breaks_nothing(
    api: Client, workspace: Workspace, method: str, path: str, body: dict[str, object]
) -> None:
    """JSON can spell it, but it can be neither stored nor sent back."""
    answer = api.generic(method, f"/api/v1/{path}", json.dumps(body), JSON)
    assert answer.status_code == 422
    assert "half of a character" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] in ("body", *body)
    whole = json.dumps({"name": "\U0001f600", "color": "violet"})
    assert api.generic("POST", "/api/v1/workspaces", whole, JSON).status_code == 201
