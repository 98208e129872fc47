"""Roles of members, and the owner who must remain."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from django.db import connection

from accounts.actors import Actor
from accounts.models import AuditEvent, Invitation, Membership, Organization, User
from accounts.roles import Role
from accounts.services.invitations import Offer, invite
from accounts.services.members import change_role
from jobs.services.leaving import remove_member
from studio.core.errors import (
    AboveError,
    ForbiddenError,
    InvalidInputError,
    LastOwnerError,
    NotFoundError,
    StudioError,
)
from studio.core.scoping import organization_scope
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(organization_a: Organization) -> User:
    """Admin of A."""
    return factories.make_member(organization_a, Role.ADMIN, email="ada@alpha.example")


@pytest.fixture
def ada_in_a(ada: User, organization_a: Organization) -> Actor:
    return factories.make_actor(ada, organization_a)


def role_of(user: User) -> str:
    return Membership.objects.get(user=user).role


def change(actor: Actor, user: User, role: str) -> bool:
    with organization_scope(actor.organization_id):
        return change_role(actor=actor, user_id=user.pk, role=role)


def test_a_role_is_changed_and_audited(alice_in_a: Actor, bob: User) -> None:
    assert change(alice_in_a, bob, "viewer")
    assert role_of(bob) == "viewer"
    with organization_scope(alice_in_a.organization_id):
        event = AuditEvent.objects.get(action="member.role_changed")
    assert (event.object_id, event.details) == (bob.pk, {"before": "artist", "after": "viewer"})
    assert not change(alice_in_a, bob, "viewer"), "the second click changes nothing"


@pytest.mark.parametrize("role", ["", "king", "OWNER", "manager"])
def test_an_unknown_role_is_refused_by_name(alice_in_a: Actor, bob: User, role: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        change(alice_in_a, bob, role)
    assert caught.value.problems[0].field == "role"
    assert role_of(bob) == "artist"


def test_an_admin_reaches_all_but_owners(ada_in_a: Actor, alice: User, bob: User) -> None:
    assert change(ada_in_a, bob, "admin")
    for user, role in ((alice, "artist"), (bob, "owner")):
        with pytest.raises(AboveError):
            change(ada_in_a, user, role)
    assert (role_of(alice), role_of(bob)) == ("owner", "admin")


def test_an_artist_changes_nobody(bob_in_a: Actor, victor: User) -> None:
    with pytest.raises(ForbiddenError):
        change(bob_in_a, victor, "artist")


def test_a_member_of_another_organization_is_not_found(charlie_in_b: Actor, bob: User) -> None:
    with pytest.raises(NotFoundError):
        change(charlie_in_b, bob, "viewer")


def test_a_service_account_has_no_role_to_change_here(
    alice_in_a: Actor, organization_a: Organization
) -> None:
    service = factories.make_member(organization_a)
    User.objects.filter(pk=service.pk).update(is_service=True)
    with pytest.raises(NotFoundError):
        change(alice_in_a, service, "admin")


def test_the_last_owner_stays_one(alice_in_a: Actor, alice: User, bob: User) -> None:
    with pytest.raises(LastOwnerError):
        change(alice_in_a, alice, "artist")
    change(alice_in_a, bob, "owner")
    assert change(alice_in_a, alice, "artist")
    assert (role_of(alice), role_of(bob)) == ("artist", "owner")


def test_an_owner_who_cannot_sign_in_does_not_count(
    alice_in_a: Actor, alice: User, organization_a: Organization
) -> None:
    other = factories.make_member(organization_a, Role.OWNER)
    User.objects.filter(pk=other.pk).update(is_active=False)
    with pytest.raises(LastOwnerError):
        change(alice_in_a, alice, "artist")


def attempt(work: list[tuple[Actor, str, str]], errors: list[str]) -> None:
    """All at once, each in a thread and on a connection of its own."""
    start = Barrier(len(work))

    def run(actor: Actor, what: str, user_id: str) -> None:
        try:
            with organization_scope(actor.organization_id):
                start.wait(10)
                if what == "lower":
                    change_role(actor=actor, user_id=user_id, role="artist")
                else:
                    remove_member(actor=actor, user_id=user_id)
        except StudioError as error:
            errors.append(error.code)
        finally:
            connection.close()

    threads = [Thread(target=run, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["lower", "remove"])
def test_two_owners_who_take_each_other_out_at_once_leave_one(
    organization_a: Organization, alice: User, what: str
) -> None:
    other = factories.make_member(organization_a, Role.OWNER, email="olga@alpha.example")
    a, b = (factories.make_actor(user, organization_a) for user in (alice, other))
    errors: list[str] = []
    attempt([(a, what, other.pk), (b, what, alice.pk)], errors)
    assert Membership.objects.filter(organization=organization_a, role="owner").count() == 1
    assert errors == ["member.last_owner"]


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_leave_at_once_leave_one(organization_a: Organization, alice: User) -> None:
    other = factories.make_member(organization_a, Role.OWNER, email="olga@alpha.example")
    a, b = (factories.make_actor(user, organization_a) for user in (alice, other))
    errors: list[str] = []
    attempt([(a, "remove", alice.pk), (b, "remove", other.pk)], errors)
    assert Membership.objects.filter(organization=organization_a, role="owner").count() == 1
    assert errors == ["member.last_owner"]


def test_who_is_lowered_keeps_no_invitation_that_leads_back(
    alice_in_a: Actor, organization_a: Organization
) -> None:
    second = factories.make_member(organization_a, Role.OWNER)
    theirs = factories.make_actor(second, organization_a)
    with organization_scope(organization_a.pk):
        for role in ("owner", "admin", "artist"):
            invite(actor=theirs, emails=[f"{role}@example.org"], offer=Offer(role=role))
        invite(actor=alice_in_a, emails=["friend@example.org"], offer=Offer(role="owner"))

    def still_open() -> set[str]:
        with organization_scope(organization_a.pk):
            found = Invitation.objects.filter(revoked_at=None)
            return {email.partition("@")[0] for email in found.values_list("email", flat=True)}

    change(alice_in_a, second, "admin")
    assert still_open() == {"admin", "artist", "friend"}
    change(alice_in_a, second, "viewer")
    assert still_open() == {"friend"}
    with organization_scope(organization_a.pk):
        events = AuditEvent.objects.filter(action="member.role_changed").order_by("id")
        assert [event.details["invitations_revoked"] for event in events] == [1, 2]
