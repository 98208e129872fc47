"""Removing a member with all that hangs on them, and leaving."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent, Membership, Organization, TeamMember, User
from accounts.roles import Permission, Role, WorkspaceRole
from accounts.token_limits import Limits
from jobs.models import Agent, Job, Output
from jobs.services.leaving import belongings_of, remove_member
from library.models import ModelVersion
from studio.core.errors import AboveError, ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Project, ShareLink, Workspace, WorkspaceGrant

pytestmark = pytest.mark.django_db


@pytest.fixture
def _bobs(bob: User, workspace: Workspace) -> None:
    """A project and a share link of Bob's."""
    with organization_scope(workspace.organization_id):
        project = Project.objects.create(
            organization_id=workspace.organization_id,
            workspace=workspace,
            sealed_name=b"-",
            created_by=bob,
        )
        ShareLink.objects.create(
            organization_id=workspace.organization_id,
            workspace=workspace,
            project=project,
            sealed_title=b"-",
            token_hash="0" * 64,
            created_by=bob,
            expires_at="2030-01-01T00:00Z",
        )


def remove(actor: Actor, user: User, **options: object) -> None:
    with organization_scope(actor.organization_id):
        remove_member(actor=actor, user_id=user.pk, **options)  # type: ignore[arg-type]  # its own names


@pytest.mark.usefixtures("_bobs")
def test_what_they_answer_for_goes_over_and_what_they_made_stays(
    alice_in_a: Actor, bob: User, victor: User, output: Output
) -> None:
    with organization_scope(alice_in_a.organization_id):
        has = belongings_of(alice_in_a, bob.pk)
        assert (has.projects, has.share_links, has.needs_successor) == (1, 1, True)
    remove(alice_in_a, bob, successor_id=victor.pk)
    with organization_scope(alice_in_a.organization_id):
        assert Project.objects.get().created_by_id == victor.pk
        assert ShareLink.objects.get().created_by_id == victor.pk
        assert Output.objects.get(pk=output.pk).job.created_by_id == bob.pk
        events = {e.action: e for e in AuditEvent.objects.filter(object_id=bob.pk)}
    assert events["member.removed"].details["successor"] == victor.pk
    assert events["member.handed_over"].details["projects"] == 1
    assert "@" not in f"{[e.details for e in events.values()]}"


@pytest.mark.usefixtures("_bobs")
@pytest.mark.parametrize("who", ["", "bob", "charlie", "service", "away"])
def test_somebody_must_be_there_to_take_over(
    alice_in_a: Actor, bob: User, charlie: User, organization_a: Organization, who: str
) -> None:
    service, away = (factories.make_member(organization_a) for _ in range(2))
    User.objects.filter(pk=service.pk).update(is_service=True)
    User.objects.filter(pk=away.pk).update(is_active=False)
    people = {"bob": bob, "charlie": charlie, "service": service, "away": away}
    successor = people[who].pk if who else ""
    with pytest.raises(InvalidInputError) as caught:
        remove(alice_in_a, bob, successor_id=successor)
    assert caught.value.problems[0].field == "successor"
    assert Membership.objects.filter(user=bob).exists()


def test_tokens_teams_and_grants_of_this_organization_end_and_no_others(
    alice_in_a: Actor,
    bob: User,
    organization_a: Organization,
    organization_b: Organization,
    workspace: Workspace,
    workspace_b: Workspace,
    client_of: Callable[[User], Client],
    api_of: Callable[[User, Organization], Client],
) -> None:
    Membership.objects.create(user=bob, organization=organization_b, role=Role.ARTIST.value)
    factories.make_team(organization_a, bob)
    factories.make_grant(workspace, bob, WorkspaceRole.MANAGER)
    here, there = api_of(bob, organization_a), api_of(bob, organization_b)
    browser = client_of(bob)
    assert browser.get(f"/w/{workspace.pk}/").status_code == 200

    remove(alice_in_a, bob)

    assert here.get("/api/v1/workspaces").status_code == 401
    assert there.get("/api/v1/workspaces").status_code == 200
    assert browser.get(f"/w/{workspace.pk}/").status_code == 404
    assert browser.get(f"/w/{workspace_b.pk}/").status_code == 200
    with organization_scope(organization_a.pk):
        assert not TeamMember.objects.exists()
        assert not WorkspaceGrant.objects.exists()
    # Back again, they are a member like any other: nothing of old comes back.
    Membership.objects.create(user=bob, organization=organization_a, role=Role.VIEWER.value)
    assert here.get("/api/v1/workspaces").status_code == 401


@pytest.mark.parametrize("cancel", [False, True])
def test_waiting_jobs_are_kept_or_canceled_running_ones_go_on(
    alice_in_a: Actor,
    bob: User,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
    cancel: bool,
) -> None:
    running, waiting = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    others = factories.make_job(alice_in_a, workspace)
    factories.make_attempt(running, Agent.objects.get())
    remove(alice_in_a, bob, cancel_jobs=cancel)
    with organization_scope(alice_in_a.organization_id):
        states = {job.pk: job.status for job in Job.objects.all()}
        canceled = set(
            AuditEvent.objects.filter(action="job.canceled").values_list("object_id", flat=True)
        )
    assert states[waiting.pk] == ("canceled" if cancel else "queued")
    assert (states[running.pk], states[others.pk]) == ("running", "queued")
    assert canceled == ({waiting.pk} if cancel else set())
    attempt = factories.make_attempt(waiting, Agent.objects.get()) if not cancel else None
    if attempt is not None:
        made = factories.run_attempt(attempt, Agent.objects.get())
        assert made[0].job.created_by_id == bob.pk, "kept: its pictures come into the workspace"


def test_open_invitations_go_over_or_end(
    alice_in_a: Actor, alice: User, organization_a: Organization
) -> None:
    ada = factories.make_member(organization_a, Role.ADMIN, email="ada@alpha.example")
    olga = factories.make_member(organization_a, Role.OWNER, email="olga@alpha.example")
    olga_in_a = factories.make_actor(olga, organization_a)
    artist, _key = factories.make_invitation(olga_in_a, "one@example.org")
    owner, _key = factories.make_invitation(olga_in_a, "two@example.org", Role.OWNER)
    remove(alice_in_a, olga, successor_id=ada.pk)
    with organization_scope(organization_a.pk):
        artist.refresh_from_db()
        owner.refresh_from_db()
    assert (artist.invited_by_id, artist.revoked_at) == (ada.pk, None)
    assert owner.revoked_at is not None, "an admin could not have invited an owner"


def test_who_may_remove_whom(
    alice: User, alice_in_a: Actor, bob: User, bob_in_a: Actor, victor: User, charlie: User
) -> None:
    ada = factories.make_member(Organization.objects.get(pk=alice_in_a.organization_id), Role.ADMIN)
    ada_in_a = factories.make_actor(ada, Organization.objects.get(pk=alice_in_a.organization_id))
    with pytest.raises(ForbiddenError):
        remove(bob_in_a, victor)
    with pytest.raises(AboveError):
        remove(ada_in_a, alice)
    with pytest.raises(NotFoundError):
        remove(alice_in_a, charlie)
    remove(ada_in_a, victor)
    remove(bob_in_a, bob)
    remaining = set(Membership.objects.values_list("user__email", flat=True))
    assert remaining >= {alice.email, ada.email, charlie.email}
    assert not remaining & {bob.email, victor.email}
    with organization_scope(alice_in_a.organization_id):
        assert AuditEvent.objects.get(object_id=bob.pk).action == "member.left"


def test_a_token_without_the_right_to_cancel_does_not_cancel(
    alice: User, bob: User, organization_a: Organization
) -> None:
    limits = Limits(scopes=frozenset({Permission.MEMBER_MANAGE.value}))
    token = factories.make_token(alice, organization_a, limits=limits)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    path = f"/api/v1/members/{bob.pk}"
    assert api.delete(f"{path}?cancel_jobs=1").status_code == 403
    assert Membership.objects.filter(user=bob).exists()
    assert api.delete(path).status_code == 204
    assert not Membership.objects.filter(user=bob).exists()


@pytest.mark.usefixtures("_bobs")
def test_the_page_asks_who_takes_over_and_says_what_is_missing(
    alice: User,
    bob: User,
    victor: User,
    organization_a: Organization,
    client_of: Callable[[User], Client],
) -> None:
    client, path = client_of(alice), f"/o/{organization_a.pk}/members/{bob.pk}/remove"
    page = client.get(path).content.decode()
    assert "Of 1 project, 1 share link and 0 open invitations" in page
    answer = client.post(path, {"jobs": "keep", "successor": ""})
    assert answer.status_code == 422
    assert "Choose who takes over" in answer.content.decode()
    assert client.post(path, {"jobs": "burn", "successor": victor.pk}).status_code == 422
    assert Membership.objects.filter(user=bob).exists()
    answer = client.post(path, {"jobs": "keep", "successor": victor.pk}, follow=True)
    assert "is no member any more" in answer.content.decode()
    assert client.get(path).status_code == 404


def test_the_last_owner_is_told_so_before_leaving(
    alice: User, bob: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    path = f"/o/{organization_a.pk}/leave"
    client = client_of(alice)
    assert "this is the last" in client.get(path).content.decode()
    answer = client.post(path, {"jobs": "keep"})
    assert answer.status_code == 409
    assert "this is the last" in answer.content.decode()
    bobs = client_of(bob)
    assert bobs.post(path, {"jobs": "keep"}).status_code == 302
    assert bobs.get(path).status_code == 404


def test_an_admin_is_not_shown_the_page_for_an_owner(
    alice: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    ada = factories.make_member(organization_a, Role.ADMIN)
    path = f"/o/{organization_a.pk}/members/{alice.pk}/remove"
    assert client_of(ada).get(path).status_code == 403
    own = client_of(ada).get(f"/o/{organization_a.pk}/members/{ada.pk}/remove")
    assert own["Location"] == f"/o/{organization_a.pk}/leave"
