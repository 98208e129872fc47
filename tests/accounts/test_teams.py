"""Teams and service accounts: services and pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent, Membership, Organization, Team, User
from accounts.people import people_of_teams
from accounts.roles import Role
from accounts.services.service_accounts import (
    create_service_account,
    deactivate_service_account,
)
from accounts.services.teams import change_team, create_team, delete_team
from accounts.services.tokens import create_token
from studio.core.errors import AboveError, ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope
from tests import factories
from workspaces.access import visible_workspaces
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


def names(team: Team) -> list[str]:
    with organization_scope(team.organization_id):
        return [m.user.email for m in people_of_teams([team])[team.pk]]


def test_a_team_opens_workspaces_and_closes_them_again(
    alice_in_a: Actor, bob: User, bob_in_a: Actor, workspace: Workspace
) -> None:
    factories.restrict(workspace)
    with organization_scope(alice_in_a.organization_id):
        team = create_team(actor=alice_in_a, name=" Autumn ", user_ids=[bob.pk])
        assert team.name == "Autumn"
    factories.make_grant(workspace, team)
    with organization_scope(alice_in_a.organization_id):
        assert visible_workspaces(bob_in_a).exists()
        change_team(actor=alice_in_a, team_id=team.pk, user_ids=[])
        assert not visible_workspaces(bob_in_a).exists()
        change_team(actor=alice_in_a, team_id=team.pk, user_ids=[bob.pk])
        delete_team(actor=alice_in_a, team_id=team.pk)
        assert not visible_workspaces(bob_in_a).exists()
        actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
        changed = AuditEvent.objects.filter(action="team.members_changed").first()
    assert actions.count("team.members_changed") == 3
    assert actions[-1] == "team.deleted"
    assert changed is not None
    assert changed.details == {"added": [bob.pk], "removed": []}


def test_a_name_is_taken_once_whatever_its_case(alice_in_a: Actor, charlie_in_b: Actor) -> None:
    with organization_scope(alice_in_a.organization_id):
        team = create_team(actor=alice_in_a, name="Autumn")
        for name in ("autumn", " ", "x" * 81):
            with pytest.raises(InvalidInputError):
                create_team(actor=alice_in_a, name=name)
        other = create_team(actor=alice_in_a, name="Winter")
        with pytest.raises(InvalidInputError):
            change_team(actor=alice_in_a, team_id=other.pk, name="AUTUMN")
        assert change_team(actor=alice_in_a, team_id=team.pk, name="AUTUMN").name == "AUTUMN"
    with organization_scope(charlie_in_b.organization_id):
        create_team(actor=charlie_in_b, name="Autumn")


def test_only_members_come_into_a_team(
    alice_in_a: Actor, bob: User, bob_in_a: Actor, charlie: User, charlie_in_b: Actor
) -> None:
    with organization_scope(alice_in_a.organization_id):
        with pytest.raises(InvalidInputError):
            create_team(actor=alice_in_a, name="Autumn", user_ids=[bob.pk, charlie.pk])
        assert not Team.objects.exists()
        with pytest.raises(ForbiddenError):
            create_team(actor=bob_in_a, name="Autumn")
        team = create_team(actor=alice_in_a, name="Autumn")
    with organization_scope(charlie_in_b.organization_id):
        with pytest.raises(NotFoundError):
            change_team(actor=charlie_in_b, team_id=team.pk, name="Mine")
        with pytest.raises(NotFoundError):
            delete_team(actor=charlie_in_b, team_id=team.pk)


def test_the_pages_of_teams(
    alice: User,
    bob: User,
    victor: User,
    organization_a: Organization,
    client_of: Callable[[User], Client],
) -> None:
    client, base = client_of(alice), f"/o/{organization_a.pk}/teams"
    made = client.post(f"{base}/new", {"name": "Autumn"})
    path = made["Location"]
    answer = client.post(f"{base}/new", {"name": "AUTUMN"})
    assert answer.status_code == 422
    assert "a team of this name already" in answer.content.decode()
    assert 'value="AUTUMN"' in answer.content.decode()
    answer = client.post(path, {"name": " ", "members": [bob.pk]})
    assert answer.status_code == 422
    assert f'value="{bob.pk}" checked' in answer.content.decode(), "no choice is lost"
    assert client.post(path, {"name": "Autumn", "members": [bob.pk]}).status_code == 302
    page = client_of(victor).get(base).content.decode()
    assert "Autumn" in page
    assert bob.email in page
    assert "Make team" not in page
    assert "Delete Autumn?" in client.get(f"{path}/delete").content.decode()
    assert client.post(f"{path}/delete").status_code == 302
    assert client.get(path).status_code == 404


def test_a_service_account_acts_through_tokens_alone(
    alice_in_a: Actor, organization_a: Organization, workspace: Workspace
) -> None:
    with organization_scope(organization_a.pk):
        service = create_service_account(actor=alice_in_a, name=" Farm ", role="artist")
        _token, plain = create_token(actor=alice_in_a, name="farm", user_id=service.pk)
    assert service.is_service
    assert service.email == f"{service.pk.lower()}@service.invalid"
    assert not service.has_usable_password()
    assert Membership.objects.get(user=service).role == "artist"
    api = Client(headers={"Authorization": f"Bearer {plain}"})
    assert api.get("/api/v1/workspaces").status_code == 200
    sign_in = {"login": service.email, "password": factories.PASSWORD}
    assert Client().post("/accounts/login/", sign_in).status_code == 200
    with organization_scope(organization_a.pk):
        for _click in range(2):
            deactivate_service_account(actor=alice_in_a, user_id=service.pk)
        event = AuditEvent.objects.get(action="service_account.deactivated")
    assert event.details == {"tokens_revoked": 1}
    assert api.get("/api/v1/workspaces").status_code == 401


@pytest.mark.parametrize("role", ["owner", "billing", "king", ""])
def test_a_service_account_is_no_owner(alice_in_a: Actor, role: str) -> None:
    with organization_scope(alice_in_a.organization_id), pytest.raises(InvalidInputError):
        create_service_account(actor=alice_in_a, name="Farm", role=role)
    assert not User.objects.filter(is_service=True).exists()


def test_service_accounts_are_managed_by_whom_they_are_not_above(
    alice_in_a: Actor, bob_in_a: Actor, charlie_in_b: Actor, organization_a: Organization, bob: User
) -> None:
    ada = factories.make_actor(factories.make_member(organization_a, Role.ADMIN), organization_a)
    with organization_scope(organization_a.pk):
        with pytest.raises(AboveError):
            create_service_account(actor=ada, name="Farm", role="owner")
        with pytest.raises(ForbiddenError):
            create_service_account(actor=bob_in_a, name="Farm", role="viewer")
        service = create_service_account(actor=ada, name="Farm", role="admin")
        with pytest.raises(NotFoundError):
            deactivate_service_account(actor=alice_in_a, user_id=bob.pk)
    with organization_scope(charlie_in_b.organization_id), pytest.raises(NotFoundError):
        deactivate_service_account(actor=charlie_in_b, user_id=service.pk)
    service.refresh_from_db()
    assert service.is_active


def test_the_page_of_service_accounts(
    alice: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    client, path = client_of(alice), f"/o/{organization_a.pk}/service-accounts"
    answer = client.post(path, {"name": " ", "role": "artist"})
    assert answer.status_code == 422
    assert "Give the service account a name." in answer.content.decode()
    answer = client.post(path, {"name": "Farm", "role": "owner"})
    assert answer.status_code == 422
    assert "can be artist, viewer or admin" in answer.content.decode()
    assert client.post(path, {"name": "Farm", "role": "viewer"}).status_code == 302
    service = User.objects.get(is_service=True)
    page = client.get(path).content.decode()
    assert "Farm" in page
    assert "service.invalid" not in page
    assert client.post(f"{path}/{service.pk}/deactivate").status_code == 302
    assert "ended" in client.get(path).content.decode()
    members = client.get(f"/o/{organization_a.pk}/members").content.decode()
    assert service.pk not in members
