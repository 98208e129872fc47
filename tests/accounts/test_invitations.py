"""Letters: who may write them, what they say, how they end, and coming in by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent, Invitation, Membership, Organization, TeamMember, User
from accounts.roles import Role
from accounts.services import invitations as letters
from accounts.services.joining import accept, accept_as_new
from accounts.services.tokens import hash_token
from studio.core.errors import (
    AboveError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    InvitationEndedError,
    LettersTooOftenError,
    NotFoundError,
    SomebodyElseError,
    StudioError,
)
from studio.core.models import OutgoingMail
from studio.core.scoping import organization_scope
from tests import factories
from tests.factories import PASSWORD, make_invitation, read_letter

pytestmark = pytest.mark.django_db
ARTIST = letters.Offer(role="artist")


def write(actor: Actor, *emails: str, offer: letters.Offer = ARTIST) -> list[Invitation]:
    with organization_scope(actor.organization_id):
        return letters.invite(actor=actor, emails=emails, offer=offer)


def again(actor: Actor, invitation: Invitation) -> str:
    """Send it again; the new key."""
    with organization_scope(actor.organization_id):
        return read_letter(letters.resend(actor=actor, invitation_id=invitation.pk)).key


def fresh(invitation: Invitation) -> Invitation:
    with organization_scope(invitation.organization_id):
        return Invitation.objects.get(pk=invitation.pk)


def change(invitation: Invitation, **values: object) -> None:
    with organization_scope(invitation.organization_id):
        Invitation.objects.filter(pk=invitation.pk).update(**values)


def test_the_letter_says_who_invites_into_what_and_until_when(alice_in_a: Actor) -> None:
    [invitation] = write(alice_in_a, " New@Example.ORG ")
    letter = read_letter(invitation)
    assert letter.to == invitation.email == "new@example.org"
    assert letter.subject == "alice@alpha.example invites you to Alpha on Studio"
    assert "as an artist" in letter.body
    assert f"{invitation.expires_at:%H:%M} UTC" in letter.body
    assert len(letter.key) >= 43, "256 bits"
    assert fresh(invitation).token_hash == hash_token(letter.key)
    assert timedelta(days=6.9) < invitation.expires_at - timezone.now() <= timedelta(days=7)
    with organization_scope(alice_in_a.organization_id):
        event = AuditEvent.objects.get(action="invitation.created")
    assert event.details == {"role": "artist", "team": ""}
    assert "example" not in f"{event.details}{event.object_id}"


def test_an_address_with_an_account_looks_like_one_without(
    alice_in_a: Actor, charlie: User, client_of: Callable[[User], Client], alice: User
) -> None:
    answers = []
    for email in (charlie.email, "x" * (len(charlie.email) - 12) + "@beta.example"):
        client, path = client_of(alice), f"/o/{alice_in_a.organization_id}/members"
        posted = client.post(f"{path}/invite", {"emails": email, "role": "viewer"})
        page = client.get(path).content.decode()
        with organization_scope(alice_in_a.organization_id):
            invitation = Invitation.objects.get(email=email)
        body = read_letter(invitation).body.replace(read_letter(invitation).key, "KEY")
        answers.append((posted.status_code, page.count(email), len(body)))
    assert answers[0][0::2] == answers[1][0::2]
    page = client_of(alice).get(f"/o/{alice_in_a.organization_id}/members").content.decode()
    rows = page.split('<li class="letter">')[1:]
    gists = {
        row.partition("letter__actions")[0].replace(charlie.email, "").replace(email, "")[:200]
        for row in rows
    }
    assert len(rows) == 2
    assert len(gists) == 1


@pytest.mark.parametrize(
    ("emails", "code"),
    [
        ((), "required"),
        (("nobody",), "not_an_address"),
        (("a@b.example", "broken@"), "not_an_address"),
        (("usr_x@service.invalid",), "not_an_address"),
        (tuple(f"a{n}@b.example" for n in range(51)), "too_many"),
        (("bob@alpha.example",), "member"),
    ],
)
def test_what_cannot_be_invited_is_named_and_nobody_is(
    alice_in_a: Actor, bob: User, emails: tuple[str, ...], code: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        write(alice_in_a, *emails)
    assert {p.code for p in caught.value.problems} == {code}
    with organization_scope(alice_in_a.organization_id):
        assert not Invitation.objects.exists()
    assert not OutgoingMail.objects.exists()


def test_one_open_invitation_for_an_address(alice_in_a: Actor, charlie_in_b: Actor) -> None:
    write(alice_in_a, "new@example.org", "new@example.org", "NEW@example.org")
    with pytest.raises(InvalidInputError) as caught:
        write(alice_in_a, "new@example.org")
    assert caught.value.problems[0].code == "invited"
    assert write(charlie_in_b, "new@example.org"), "another organization knows nothing of it"


def test_an_expired_one_is_not_in_the_way(alice_in_a: Actor) -> None:
    old, _key = make_invitation(alice_in_a)
    change(old, expires_at=timezone.now())
    [new] = write(alice_in_a, "new@example.org")
    assert new.pk != old.pk
    assert fresh(old).revoked_at is not None


def test_who_may_invite_as_what(
    alice_in_a: Actor, bob_in_a: Actor, organization_a: Organization
) -> None:
    ada = factories.make_actor(factories.make_member(organization_a, Role.ADMIN), organization_a)
    with pytest.raises(AboveError):
        write(ada, "new@example.org", offer=letters.Offer(role="owner"))
    with pytest.raises(ForbiddenError):
        write(bob_in_a, "new@example.org")
    with pytest.raises(InvalidInputError):
        write(alice_in_a, "new@example.org", offer=letters.Offer(role="king"))
    with pytest.raises(InvalidInputError):
        write(alice_in_a, "new@example.org", offer=letters.Offer(role="artist", team_id="tea_x"))
    [made] = write(alice_in_a, "new@example.org", offer=letters.Offer(role="owner"))
    with organization_scope(organization_a.pk):
        for work in (letters.resend, letters.revoke, letters.make_link):
            with pytest.raises(AboveError):
                work(actor=ada, invitation_id=made.pk)


def test_a_letter_sent_again_makes_the_first_link_dead(alice_in_a: Actor) -> None:
    invitation, old = make_invitation(alice_in_a)
    change(invitation, expires_at=timezone.now())
    new = again(alice_in_a, invitation)
    assert new != old
    with pytest.raises(InvitationEndedError):
        accept_as_new(plain=old, name="Nina", password=PASSWORD)
    assert accept_as_new(plain=new, name="Nina", password=PASSWORD)


def test_four_letters_an_hour_also_when_revoked_meanwhile(alice_in_a: Actor) -> None:
    invitation, _key = make_invitation(alice_in_a)
    again(alice_in_a, invitation)
    with organization_scope(alice_in_a.organization_id):
        letters.revoke(actor=alice_in_a, invitation_id=invitation.pk)
    invitation, _key = make_invitation(alice_in_a)
    again(alice_in_a, invitation)
    with pytest.raises(LettersTooOftenError) as caught:
        again(alice_in_a, invitation)
    assert "4 are allowed" in caught.value.message
    make_invitation(alice_in_a, "other@example.org")


def test_a_link_is_shown_only_for_a_letter_that_was_not_sent(alice_in_a: Actor) -> None:
    invitation, old = make_invitation(alice_in_a)
    with organization_scope(alice_in_a.organization_id):
        with pytest.raises(ConflictError):
            letters.make_link(actor=alice_in_a, invitation_id=invitation.pk)
        OutgoingMail.objects.filter(pk=invitation.mail_id).update(trouble="server", is_given_up=1)
        _invitation, link = letters.make_link(actor=alice_in_a, invitation_id=invitation.pk)
    new = link.partition("?key=")[2]
    with pytest.raises(InvitationEndedError):
        accept_as_new(plain=old, name="Nina", password=PASSWORD)
    assert accept_as_new(plain=new, name="Nina", password=PASSWORD)


def test_a_revoked_one_ends_twice_is_fine_and_others_do_not_see_it(
    alice_in_a: Actor, charlie_in_b: Actor
) -> None:
    invitation, key = make_invitation(alice_in_a)
    with organization_scope(charlie_in_b.organization_id), pytest.raises(NotFoundError):
        letters.revoke(actor=charlie_in_b, invitation_id=invitation.pk)
    with organization_scope(alice_in_a.organization_id):
        letters.revoke(actor=alice_in_a, invitation_id=invitation.pk)
        letters.revoke(actor=alice_in_a, invitation_id=invitation.pk)
        assert AuditEvent.objects.filter(action="invitation.revoked").count() == 1
        with pytest.raises(NotFoundError):
            letters.resend(actor=alice_in_a, invitation_id=invitation.pk)
    with pytest.raises(InvitationEndedError):
        accept_as_new(plain=key, name="Nina", password=PASSWORD)


def test_the_invited_person_joins_role_and_team(
    alice_in_a: Actor, organization_a: Organization, charlie: User
) -> None:
    team = factories.make_team(organization_a)
    invitation, key = make_invitation(alice_in_a, charlie.email, Role.VIEWER, team_id=team.pk)
    accept(plain=key, user=charlie, address="192.0.2.7")
    membership = Membership.objects.get(user=charlie, organization=organization_a)
    assert membership.role == "viewer"
    with organization_scope(organization_a.pk):
        assert TeamMember.objects.get(team=team).membership_id == membership.pk
        event = AuditEvent.objects.get(action="invitation.accepted")
    assert (event.actor_id, event.address) == (charlie.pk, "192.0.2.7")
    assert event.details["invitation"] == invitation.pk
    accept(plain=key, user=charlie)
    with organization_scope(organization_a.pk):
        assert AuditEvent.objects.filter(action="invitation.accepted").count() == 1


def test_a_used_link_does_not_bring_a_removed_member_back(
    alice_in_a: Actor, organization_a: Organization, charlie: User
) -> None:
    _invitation, key = make_invitation(alice_in_a, charlie.email)
    accept(plain=key, user=charlie)
    Membership.objects.get(user=charlie, organization=organization_a).delete()
    with pytest.raises(InvitationEndedError):
        accept(plain=key, user=charlie)


def test_somebody_else_cannot_take_it(alice_in_a: Actor, charlie: User, bob: User) -> None:
    _invitation, key = make_invitation(alice_in_a, "new@example.org")
    with pytest.raises(SomebodyElseError):
        accept(plain=key, user=charlie)
    assert not charlie.memberships.filter(organization_id=alice_in_a.organization_id).exists()


def test_an_account_is_not_taken_over_by_a_link(alice_in_a: Actor, charlie: User) -> None:
    _invitation, key = make_invitation(alice_in_a, charlie.email)
    with pytest.raises(ConflictError):
        accept_as_new(plain=key, name="Mallory", password=PASSWORD + "!")
    charlie.refresh_from_db()
    assert charlie.check_password(PASSWORD)


def test_nor_is_one_without_a_password_that_belongs_somewhere(
    alice_in_a: Actor, charlie: User
) -> None:
    charlie.set_unusable_password()
    charlie.save()
    _invitation, key = make_invitation(alice_in_a, charlie.email)
    with pytest.raises(ConflictError):
        accept_as_new(plain=key, name="Mallory", password=PASSWORD)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_account", [True, False])
def test_two_tabs_at_once_make_one_membership(
    organization_a: Organization, alice: User, has_account: bool
) -> None:
    alice_in_a = factories.make_actor(alice, organization_a)
    _invitation, key = make_invitation(alice_in_a)
    user = factories.make_user("new@example.org") if has_account else None
    start, outcomes = Barrier(4), []

    def run() -> None:
        try:
            start.wait(10)
            if user is not None:
                accept(plain=key, user=user)
            else:
                accept_as_new(plain=key, name="Nina", password=PASSWORD)
            outcomes.append("in")
        except StudioError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    expected = ["in"] * 4 if has_account else ["in"] + ["invitation.ended"] * 3
    assert sorted(outcomes) == sorted(expected)
    assert User.objects.filter(email="new@example.org").count() == 1
    assert Membership.objects.filter(user__email="new@example.org").count() == 1
    with organization_scope(organization_a.pk):
        assert AuditEvent.objects.filter(action="invitation.accepted").count() == 1


@pytest.mark.django_db(transaction=True)
def test_links_of_two_organizations_at_once_make_one_account(
    alice_in_a: Actor, charlie_in_b: Actor
) -> None:
    barrier, outcomes = Barrier(2), list[str]()
    keys = [read_letter(write(actor, "new@x.org")[0]).key for actor in (alice_in_a, charlie_in_b)]

    def run(key: str) -> None:
        try:
            barrier.wait(timeout=10)
            accept_as_new(plain=key, name="Nina", password=PASSWORD)
            outcomes.append("in")
        except ConflictError:
            outcomes.append("sign in first")
        finally:
            connection.close()

    threads = [Thread(target=run, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(outcomes) == ["in", "sign in first"]
    assert User.objects.filter(email="new@x.org").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_invite_the_same_address_at_once_make_one(
    organization_a: Organization, alice: User
) -> None:
    actor = factories.make_actor(alice, organization_a)
    start, outcomes = Barrier(2), []

    def run() -> None:
        try:
            start.wait(10)
            write(actor, "new@example.org")
            outcomes.append("written")
        except InvalidInputError as error:
            outcomes.append(error.problems[0].code)
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["invited", "written"]


def test_the_command_founds_an_organization_whose_owner_comes_by_link(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("create_organization", "Gamma", "--owner", "Gina@Example.org")
    link = capsys.readouterr().out.split()[-1]
    path = "/join?" + link.partition("?")[2]
    page = Client().get(path)
    assert page.status_code == 200
    assert "founded for you" in page.content.decode()
    client = Client()
    answer = client.post(path, {"name": "Gina", "password": PASSWORD})
    assert answer.status_code == 302
    gamma = Organization.objects.get(name="Gamma")
    assert Membership.objects.get(organization=gamma).role == "owner"
    assert client.get(f"/o/{gamma.pk}/settings").status_code == 200
    assert Client().get(path).status_code == 404, "once"


def test_the_command_leaves_an_account_as_it_is(
    charlie: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_organization", "Gamma", "--owner", charlie.email)
    key = capsys.readouterr().out.partition("?key=")[2].strip()
    with pytest.raises(ConflictError):
        accept_as_new(plain=key, name="Mallory", password=PASSWORD)
    assert accept(plain=key, user=charlie).role == "owner"


@pytest.mark.parametrize(("name", "owner"), [(" ", "a@b.example"), ("Gamma", "nobody")])
def test_the_command_refuses_what_cannot_be(name: str, owner: str) -> None:
    before = Organization.objects.count()
    with pytest.raises(CommandError):
        call_command("create_organization", name, "--owner", owner)
    assert Organization.objects.count() == before
