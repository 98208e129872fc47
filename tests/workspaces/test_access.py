"""Who gets into which workspace, and what they may do there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import Organization, User
from accounts.roles import GRANTED, ROLE_PERMISSIONS, Permission, Role, WorkspaceRole
from accounts.token_limits import Limits
from jobs.models import Output
from studio.core.errors import ForbiddenError, NotFoundError
from studio.core.scoping import organization_scope
from tests import factories
from workspaces.access import (
    actor_within,
    can_somewhere,
    get_workspace,
    require_in,
    visible_workspaces,
)
from workspaces.models import Workspace
from workspaces.selectors import count_reaches, who_reaches

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(organization_a: Organization) -> Workspace:
    """A restricted workspace of A."""
    return factories.restrict(factories.make_workspace(organization_a, "Secret launch"))


@pytest.fixture
def in_a(organization_a: Organization) -> Iterator[None]:
    with organization_scope(organization_a.pk):
        yield


def test_a_restricted_workspace_is_not_there_for_who_is_not_let_in(
    closed: Workspace, workspace: Workspace, bob_in_a: Actor, in_a: None
) -> None:
    with pytest.raises(NotFoundError):
        get_workspace(bob_in_a, closed.pk, permission=Permission.WORKSPACE_VIEW)
    assert list(visible_workspaces(bob_in_a)) == [workspace]


def test_owners_and_admins_reach_every_workspace(
    closed: Workspace, alice_in_a: Actor, organization_a: Organization, in_a: None
) -> None:
    admin = factories.make_member(organization_a, Role.ADMIN)
    for actor in (alice_in_a, factories.make_actor(admin, organization_a)):
        assert get_workspace(actor, closed.pk, permission=Permission.WORKSPACE_MANAGE) == closed
        assert list(visible_workspaces(actor)) == [closed]


@pytest.mark.parametrize("by_team", [False, True], ids=["member", "team"])
@pytest.mark.parametrize("grant", list(WorkspaceRole))
@pytest.mark.parametrize("role", [Role.ARTIST, Role.BILLING, Role.VIEWER])
def test_a_grant_gives_its_role_in_that_workspace_alone(
    closed: Workspace, organization_a: Organization, role: Role, grant: WorkspaceRole, by_team: bool
) -> None:
    other = factories.restrict(factories.make_workspace(organization_a, "Other"))
    user = factories.make_member(organization_a, role)
    to = factories.make_team(organization_a, user) if by_team else user
    factories.make_grant(closed, to, grant)
    actor = factories.make_actor(user, organization_a)
    with organization_scope(organization_a.pk):
        here = actor_within(actor, closed)
        for permission in GRANTED[WorkspaceRole.MANAGER]:
            assert here.can(permission) == (permission in GRANTED[grant]), permission
        assert here.can(Permission.MEMBER_MANAGE) is False
        assert list(visible_workspaces(actor)) == [closed]
        assert not actor_within(actor, other).can(Permission.WORKSPACE_VIEW)
        assert can_somewhere(actor, Permission.OUTPUT_VIEW)


def test_in_an_open_workspace_a_grant_adds_to_the_role(
    workspace: Workspace, victor: User, organization_a: Organization
) -> None:
    factories.make_grant(workspace, victor, WorkspaceRole.ARTIST)
    victor_in_a = factories.make_actor(victor, organization_a)
    with organization_scope(organization_a.pk):
        assert actor_within(victor_in_a, workspace).can(Permission.JOB_SUBMIT)
        assert not victor_in_a.can(Permission.JOB_SUBMIT)


def test_who_leaves_a_team_or_the_organization_is_out(
    closed: Workspace, bob: User, bob_in_a: Actor, organization_a: Organization, in_a: None
) -> None:
    team = factories.make_team(organization_a, bob)
    factories.make_grant(closed, team)
    assert get_workspace(bob_in_a, closed.pk, permission=Permission.JOB_SUBMIT)
    team.members.all().delete()
    with pytest.raises(NotFoundError):
        get_workspace(bob_in_a, closed.pk, permission=Permission.WORKSPACE_VIEW)


def test_pictures_of_a_closed_workspace_are_not_there_either(
    output: Output,
    victor: User,
    organization_a: Organization,
    client_of: Callable[[User], Client],
    api_of: Callable[[User, Organization], Client],
) -> None:
    factories.restrict(output.workspace)
    api, browser = api_of(victor, organization_a), client_of(victor)
    for path in (f"/api/v1/outputs/{output.pk}", f"/api/v1/jobs/{output.job_id}"):
        assert api.get(path).status_code == 404
    assert api.get("/api/v1/outputs").status_code == 404  # there is no workspace for them
    assert api.get(f"/api/v1/outputs?workspace={output.workspace_id}").status_code == 404
    assert api.get("/api/v1/workspaces").json() == []
    room = f"/w/{output.workspace_id}/"
    for path in (room, f"{room}gallery", f"{room}outputs/{output.pk}"):
        assert browser.get(path).status_code == 404
    factories.make_grant(output.workspace, victor, WorkspaceRole.VIEWER)
    assert api.get(f"/api/v1/outputs/{output.pk}").status_code == 200
    assert browser.get(room).status_code == 200


def test_a_viewer_of_the_organization_makes_pictures_where_a_grant_says_so(
    workspace: Workspace,
    victor: User,
    organization_a: Organization,
    model_version: object,
    redis: object,
    api_of: Callable[[User, Organization], Client],
) -> None:
    api = api_of(victor, organization_a)
    body = {"workspace": workspace.pk, "prompt": factories.PROMPT}
    assert api.post("/api/v1/jobs", body, "application/json").status_code == 403
    factories.make_grant(workspace, victor, WorkspaceRole.ARTIST)
    assert api.post("/api/v1/jobs", body, "application/json").status_code == 201


def test_who_can_see_a_workspace_is_who_gets_in(
    closed: Workspace,
    workspace: Workspace,
    alice: User,
    bob: User,
    victor: User,
    bill: User,
    organization_a: Organization,
    in_a: None,
) -> None:
    """The list that people trust, against the gate itself."""
    factories.make_grant(closed, factories.make_team(organization_a, victor), WorkspaceRole.VIEWER)
    factories.make_grant(workspace, bill, WorkspaceRole.VIEWER)
    for room, user in product((closed, workspace), (alice, bob, victor, bill)):
        actor = actor_within(factories.make_actor(user, organization_a), room)
        listed = {reach.user.pk: reach.rights for reach in who_reaches(room)}
        assert (user.pk in listed) == actor.can(Permission.OUTPUT_VIEW), (room.name, user.email)
        if user.pk in listed:
            assert listed[user.pk] == actor.rights


def test_so_many_get_in_as_are_listed(
    closed: Workspace,
    workspace: Workspace,
    alice: User,
    bob: User,
    victor: User,
    bill: User,
    organization_a: Organization,
    in_a: None,
) -> None:
    away = factories.make_member(organization_a)
    User.objects.filter(pk=away.pk).update(is_active=False)
    team = factories.make_team(organization_a, victor, bill, away)
    rooms = [closed, workspace]
    for let_in in (None, team, bill, victor, factories.make_team(organization_a, name="Empty")):
        for room in rooms if let_in else ():
            assert let_in is not None
            factories.make_grant(room, let_in, WorkspaceRole.VIEWER)
        counted = count_reaches(rooms)
        assert counted == {room.pk: len(who_reaches(room)) for room in rooms}
    assert counted == {closed.pk: 3, workspace.pk: 4}


def test_as_many_queries_for_many_workspaces_as_for_one(
    workspace: Workspace,
    alice: User,
    organization_a: Organization,
    in_a: None,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    rooms = [workspace, *(factories.make_workspace(organization_a, f"{n}") for n in range(20))]
    with django_assert_num_queries(3):
        assert set(count_reaches(rooms).values()) == {1}


def test_a_token_for_one_workspace_sees_no_other(
    workspace: Workspace, bob: User, organization_a: Organization
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    limits = Limits(workspace_ids=frozenset({workspace.pk}))
    token = factories.make_token(bob, organization_a, limits=limits)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    assert [row["id"] for row in api.get("/api/v1/workspaces").json()] == [workspace.pk]
    assert api.get(f"/api/v1/jobs?workspace={workspace.pk}").status_code == 200
    assert api.get(f"/api/v1/jobs?workspace={other.pk}").status_code == 404


def test_a_token_without_the_scope_may_not_even_with_a_grant(
    workspace: Workspace, bob: User, organization_a: Organization
) -> None:
    factories.make_grant(workspace, bob, WorkspaceRole.MANAGER)
    limits = Limits(scopes=frozenset({"job:view", "workspace:view"}))
    token = factories.make_token(bob, organization_a, limits=limits)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    assert api.get(f"/api/v1/jobs?workspace={workspace.pk}").status_code == 200
    assert api.get(f"/api/v1/outputs?workspace={workspace.pk}").status_code == 403
    assert api.post("/api/v1/jobs", {}, "application/json").status_code == 403


def test_a_deleted_workspace_is_gone_for_everybody(
    output: Output, alice: User, alice_in_a: Actor, client_of: Callable[[User], Client], in_a: None
) -> None:
    Workspace.objects.filter(pk=output.workspace_id).update(deleted_at=output.created_at)
    with pytest.raises(NotFoundError):
        get_workspace(alice_in_a, output.workspace_id, permission=Permission.WORKSPACE_VIEW)
    assert not visible_workspaces(alice_in_a)
    assert client_of(alice).get(f"/w/{output.workspace_id}/").status_code == 404
    output.workspace.refresh_from_db()
    from jobs.access import get_output  # the room above

    with pytest.raises(NotFoundError):
        get_output(alice_in_a, output.pk, permission=Permission.OUTPUT_VIEW)


def test_the_actor_of_a_workspace_is_not_looked_up_twice(
    closed: Workspace,
    bob: User,
    bob_in_a: Actor,
    in_a: None,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    factories.make_grant(closed, bob)
    here = actor_within(bob_in_a, closed)
    with django_assert_num_queries(0):
        assert actor_within(here, closed) is here
    with pytest.raises(ForbiddenError):
        here.require(Permission.WORKSPACE_MANAGE)


def test_who_is_let_in_by_role_costs_no_look_at_grants(
    workspace: Workspace,
    bob_in_a: Actor,
    in_a: None,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    with django_assert_num_queries(0):
        require_in(bob_in_a, workspace, Permission.JOB_SUBMIT)


def test_a_token_that_may_only_submit_finds_the_first_workspace(
    workspace: Workspace,
    bob: User,
    organization_a: Organization,
    model_version: object,
    redis: object,
) -> None:
    limits = Limits(scopes=frozenset({"job:submit"}))
    token = factories.make_token(bob, organization_a, limits=limits)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    body = {"prompt": factories.PROMPT}
    assert api.post("/api/v1/jobs", body, "application/json").status_code == 201
    assert api.get("/api/v1/workspaces").status_code == 403


def test_every_role_of_a_grant_is_less_than_an_owner() -> None:
    for rights in GRANTED.values():
        assert rights < ROLE_PERMISSIONS[Role.OWNER]
