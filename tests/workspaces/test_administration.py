"""Making and changing workspaces, letting people and teams in: who may, and what the log says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounts.actors import Actor
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.roles import Permission, Role, WorkspaceRole
from studio.core.errors import ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from workspaces.access import actor_within, get_workspace, visible_workspaces
from workspaces.models import Workspace, WorkspaceGrant
from workspaces.palette import COLORS
from workspaces.selectors import who_reaches
from workspaces.services.administration import Changes, change_workspace, create_workspace
from workspaces.services.grants import Grantee, change_grant, grant_access, revoke_grant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def in_a(organization_a: Organization) -> Iterator[None]:
    with organization_scope(organization_a.pk):
        yield


@pytest.fixture
def manager(bob: User, bob_in_a: Actor, workspace: Workspace) -> Actor:
    """Bob, whom a grant makes manager of the room."""
    factories.make_grant(workspace, bob, WorkspaceRole.MANAGER)
    return actor_within(bob_in_a, workspace)


def last_event() -> AuditEvent:
    return AuditEvent.objects.order_by("-id")[0]


def test_a_new_workspace_has_a_key_of_its_own_and_is_audited(
    alice_in_a: Actor, workspace: Workspace
) -> None:
    made = create_workspace(actor=alice_in_a, name=" Perfume ", color="teal", is_restricted=True)
    kept = Workspace.objects.get(pk=made.pk)
    assert (kept.name, kept.color, kept.is_restricted) == ("Perfume", "teal", True)
    assert bytes(kept.wrapped_key) != bytes(workspace.wrapped_key)
    event = last_event()
    assert (event.action, event.object_id) == ("workspace.created", made.pk)
    assert event.details == {"color": "teal", "is_restricted": True}


@pytest.mark.parametrize("role", [Role.ARTIST, Role.VIEWER, Role.BILLING])
def test_only_who_leads_makes_workspaces(organization_a: Organization, role: Role) -> None:
    actor = factories.make_actor(factories.make_member(organization_a, role), organization_a)
    with pytest.raises(ForbiddenError):
        create_workspace(actor=actor, name="Mine")


def test_a_token_for_certain_workspaces_makes_no_others(
    alice_in_a: Actor, workspace: Workspace
) -> None:
    limited = alice_in_a.through_token(
        "tok_x",
        scopes=None,
        workspace_ids=frozenset({workspace.pk}),
        requests_per_minute=None,
    )
    with pytest.raises(ForbiddenError):
        create_workspace(actor=limited, name="Another")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (Changes(name="   "), "1 to 120"),
        (Changes(name="x" * 121), "121 characters"),
        (Changes(name="a\x00b"), "cannot be seen"),
        (Changes(name="a\u202eb"), "cannot be seen"),
        (Changes(color="url(#x)"), "no color"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    alice_in_a: Actor, workspace: Workspace, changes: Changes, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=r"input\.invalid") as caught:
        change_workspace(actor=alice_in_a, workspace=workspace, changes=changes)
    assert said in caught.value.message
    kept = Workspace.objects.get(pk=workspace.pk)
    assert (kept.name, kept.color) == ("Room", "violet")


def test_all_wrong_fields_are_named_at_once(alice_in_a: Actor) -> None:
    with pytest.raises(InvalidInputError) as caught:
        create_workspace(actor=alice_in_a, name="", color="beige")
    assert [problem.field for problem in caught.value.problems] == ["name", "color"]


def test_no_two_of_one_name_that_can_be_taken_for_each_other(
    alice_in_a: Actor, manager: Actor, workspace: Workspace, organization_a: Organization
) -> None:
    closed = factories.restrict(factories.make_workspace(organization_a, "Secret launch"))
    with pytest.raises(InvalidInputError) as caught:
        create_workspace(actor=alice_in_a, name="ROOM ")
    assert "ROOM already" in caught.value.message
    with pytest.raises(InvalidInputError):
        change_workspace(actor=alice_in_a, workspace=workspace, changes=Changes(name=closed.name))
    # A manager must not learn what there is behind closed doors.
    assert change_workspace(actor=manager, workspace=workspace, changes=Changes(name=closed.name))
    assert change_workspace(actor=manager, workspace=workspace, changes=Changes(name="room"))


def test_a_change_says_codes_and_not_the_name(alice_in_a: Actor, workspace: Workspace) -> None:
    changes = Changes(name="The merger", color=COLORS[3])
    assert change_workspace(actor=alice_in_a, workspace=workspace, changes=changes)
    assert last_event().details == {"fields": ["color", "name"], "color": COLORS[3]}
    count = AuditEvent.objects.count()
    assert not change_workspace(actor=alice_in_a, workspace=workspace, changes=changes)
    assert AuditEvent.objects.count() == count


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
def test_who_restricts_as_a_leader_still_gets_in(
    organization_a: Organization, workspace: Workspace, role: Role
) -> None:
    actor = factories.make_actor(factories.make_member(organization_a, role), organization_a)
    change_workspace(actor=actor, workspace=workspace, changes=Changes(is_restricted=True))
    assert get_workspace(actor, workspace.pk, permission=Permission.WORKSPACE_MANAGE)


def test_who_restricts_as_a_manager_still_gets_in_and_others_do_not(
    manager: Actor, bob_in_a: Actor, victor_in_a: Actor, workspace: Workspace
) -> None:
    change_workspace(actor=manager, workspace=workspace, changes=Changes(is_restricted=True))
    assert get_workspace(bob_in_a, workspace.pk, permission=Permission.WORKSPACE_MANAGE)
    assert list(visible_workspaces(victor_in_a)) == []
    change_workspace(actor=manager, workspace=workspace, changes=Changes(is_restricted=False))
    assert list(visible_workspaces(victor_in_a)) == [workspace]


def test_a_manager_manages_that_workspace_alone(
    manager: Actor, bob_in_a: Actor, organization_a: Organization
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    with pytest.raises(ForbiddenError):
        change_workspace(actor=bob_in_a, workspace=other, changes=Changes(name="Mine"))
    with pytest.raises(ForbiddenError):
        change_workspace(actor=manager, workspace=other, changes=Changes(name="Mine"))


def test_a_manager_lets_a_member_in_changes_it_and_takes_it_back(
    manager: Actor, workspace: Workspace, bill: User, organization_a: Organization
) -> None:
    bill_in_a = factories.make_actor(bill, organization_a)
    whom = Grantee(user_id=bill.pk)
    grant = grant_access(actor=manager, workspace=workspace, grantee=whom, role="viewer")
    assert list(visible_workspaces(bill_in_a)) == [workspace]
    where = {"user": bill.pk, "grant": grant.pk, "workspace": workspace.pk}
    assert last_event().details == {**where, "role": "viewer"}

    again = grant_access(actor=manager, workspace=workspace, grantee=whom, role="artist")
    assert again.pk == grant.pk
    assert last_event().details == {**where, "was": "viewer", "role": "artist"}
    change_grant(actor=manager, workspace=workspace, grant_id=grant.pk, role="manager")
    assert WorkspaceGrant.objects.get(pk=grant.pk).role == "manager"

    revoke_grant(actor=manager, workspace=workspace, grant_id=grant.pk)
    assert list(visible_workspaces(bill_in_a)) == []
    assert last_event().action == "access.revoked"
    assert not revoke_grant(actor=manager, workspace=workspace, grant_id=grant.pk)


def test_a_team_is_let_in_together(
    alice_in_a: Actor, workspace: Workspace, bill: User, organization_a: Organization
) -> None:
    team = factories.make_team(organization_a, bill, name="Layout")
    factories.restrict(workspace)
    grant_access(
        actor=alice_in_a, workspace=workspace, grantee=Grantee(team_id=team.pk), role="viewer"
    )
    reach = {r.user.pk: r for r in who_reaches(workspace)}[bill.pk]
    assert not reach.by_role
    assert [grant.team for grant in reach.grants] == [team]


def test_nobody_outside_the_organization_is_let_in(
    alice_in_a: Actor,
    workspace: Workspace,
    charlie: User,
    organization_b: Organization,
) -> None:
    team = factories.make_team(organization_b, charlie)
    for whom in (Grantee(user_id=charlie.pk), Grantee(team_id=team.pk), Grantee(user_id="usr_x")):
        with pytest.raises(NotFoundError):
            grant_access(actor=alice_in_a, workspace=workspace, grantee=whom, role="viewer")
    with system_scope():
        assert not WorkspaceGrant.objects.exists()


def test_who_has_left_is_not_let_in(alice_in_a: Actor, workspace: Workspace, victor: User) -> None:
    User.objects.filter(pk=victor.pk).update(is_active=False)
    with pytest.raises(NotFoundError):
        grant_access(
            actor=alice_in_a, workspace=workspace, grantee=Grantee(user_id=victor.pk), role="viewer"
        )


@pytest.mark.parametrize("grantee", [Grantee(), Grantee(user_id="usr_x", team_id="tea_x")])
def test_a_grant_is_for_one(alice_in_a: Actor, workspace: Workspace, grantee: Grantee) -> None:
    with pytest.raises(InvalidInputError):
        grant_access(actor=alice_in_a, workspace=workspace, grantee=grantee, role="viewer")


def test_no_role_but_those_of_a_workspace(
    alice_in_a: Actor, workspace: Workspace, victor: User
) -> None:
    with pytest.raises(InvalidInputError, match=r"input\.invalid") as caught:
        grant_access(
            actor=alice_in_a, workspace=workspace, grantee=Grantee(user_id=victor.pk), role="owner"
        )
    assert "manager, artist, viewer" in caught.value.message


def test_artists_and_viewers_by_grant_let_nobody_in(
    organization_a: Organization, workspace: Workspace, bill: User, victor: User
) -> None:
    factories.restrict(workspace)
    for role in (WorkspaceRole.ARTIST, WorkspaceRole.VIEWER):
        user = factories.make_member(organization_a)
        factories.make_grant(workspace, user, role)
        actor = factories.make_actor(user, organization_a)
        with pytest.raises(ForbiddenError):
            grant_access(
                actor=actor, workspace=workspace, grantee=Grantee(user_id=bill.pk), role="viewer"
            )


def test_a_grant_of_another_workspace_is_not_there(
    manager: Actor, workspace: Workspace, organization_a: Organization, victor: User
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    grant = factories.make_grant(other, victor)
    with pytest.raises(NotFoundError):
        change_grant(actor=manager, workspace=workspace, grant_id=grant.pk, role="viewer")
    assert not revoke_grant(actor=manager, workspace=workspace, grant_id=grant.pk)
    assert WorkspaceGrant.objects.filter(pk=grant.pk).exists()


def test_a_program_needs_the_scope(
    alice: User, organization_a: Organization, workspace: Workspace, victor: User
) -> None:
    actor = factories.make_actor(alice, organization_a).through_token(
        "tok_x",
        scopes=frozenset({Permission.WORKSPACE_VIEW}),
        workspace_ids=frozenset(),
        requests_per_minute=None,
    )
    with pytest.raises(ForbiddenError):
        grant_access(
            actor=actor, workspace=workspace, grantee=Grantee(user_id=victor.pk), role="viewer"
        )


def test_whoever_leaves_the_organization_leaves_its_workspaces(
    workspace: Workspace, victor: User
) -> None:
    factories.make_grant(workspace, victor)
    Membership.objects.filter(user=victor).delete()
    assert not WorkspaceGrant.objects.exists()
