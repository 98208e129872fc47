"""Pages of members and invitations, and the page behind a link, as people meet them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Invitation, Membership, Organization, User
from accounts.roles import Role, WorkspaceRole
from accounts.services.invitations import revoke
from studio.core.models import OutgoingMail
from studio.core.scoping import organization_scope
from tests import factories
from tests.factories import PASSWORD, make_invitation, read_letter
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User], Client]


@pytest.fixture
def path(organization_a: Organization) -> str:
    return f"/o/{organization_a.pk}/members"


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_members_are_found_by_name_and_address(
    alice: User, bob: User, victor: User, path: str, client_of: ClientOf
) -> None:
    User.objects.filter(pk=bob.pk).update(name="Robert Moss")
    client = client_of(victor)
    for search, shown in (("moss", {bob}), ("ALICE@", {alice}), ("", {alice, bob, victor})):
        page = client.get(path, {"q": search}).content.decode()
        assert {u for u in (alice, bob, victor) if f"members/{u.pk}" in page} == shown
    page = client.get(path, {"q": "<b>x"}).content.decode()
    assert "&lt;b&gt;x" in page
    assert "Show all" in page


def test_who_does_not_manage_sees_no_invitations(
    alice_in_a: Actor, bob: User, path: str, client_of: ClientOf
) -> None:
    make_invitation(alice_in_a)
    page = client_of(bob).get(path).content.decode()
    assert "new@example.org" not in page
    assert "Invite" not in page
    assert "<select" not in page


def test_several_are_invited_at_once_and_wrong_ones_are_named(
    alice: User, bob: User, path: str, organization_a: Organization, client_of: ClientOf
) -> None:
    client = client_of(alice)
    emails = f"Ada <ada@example.org>, grace@example.org\nbroken; {bob.email}"
    answer = client.post(f"{path}/invite", {"emails": emails, "role": "viewer"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "broken is no e-mail address." in page
    assert "grace@example.org" in page, "nothing is lost"
    assert '<option value="viewer" selected>' in page
    assert not OutgoingMail.objects.exists()
    answer = client.post(f"{path}/invite", {"emails": emails.replace("broken;", ""), "role": "x"})
    assert "There is no role" in answer.content.decode()
    emails = "Ada <ada@example.org>, grace@example.org"
    assert client.post(f"{path}/invite", {"emails": emails, "role": "viewer"}).status_code == 302
    page = client.get(path).content.decode()
    assert "2 people" in page
    assert page.count('<li class="letter">') == 2
    assert OutgoingMail.objects.count() == 2


def test_a_role_is_changed_in_place_and_refusals_stand_at_the_row(
    alice: User, bob: User, path: str, organization_a: Organization, client_of: ClientOf
) -> None:
    client = client_of(alice)
    answer = client.post(f"{path}/{bob.pk}/role", {"role": "viewer"}, follow=True)
    assert f"{bob.email} is now Viewer." in answer.content.decode()
    answer = client.post(f"{path}/{alice.pk}/role", {"role": "artist"})
    assert answer.status_code == 409
    page = answer.content.decode()
    assert f'id="error_{alice.pk}" role="alert">An organization needs an owner' in page
    answer = client.post(f"{path}/{bob.pk}/role", {"role": "king"})
    assert answer.status_code == 422
    ada = factories.make_member(organization_a, Role.ADMIN)
    answer = client_of(ada).post(f"{path}/{alice.pk}/role", {"role": "artist"})
    assert answer.status_code == 403
    assert "Only an owner" in answer.content.decode()
    page = client_of(ada).get(path).content.decode()
    assert f"{path}/{alice.pk}/role" not in page, "no button for what is refused"
    assert client.post(f"{path}/usr_x/role", {"role": "viewer"}).status_code == 404


def test_a_letter_that_was_not_sent_is_said_and_its_link_shown_once(
    alice: User, alice_in_a: Actor, path: str, client_of: ClientOf
) -> None:
    invitation, _key = make_invitation(alice_in_a)
    client, base = client_of(alice), f"/o/{alice_in_a.organization_id}/invitations/{invitation.pk}"
    assert "Make a link" not in client.get(path).content.decode()
    answer = client.post(f"{base}/link")
    assert answer.status_code == 409
    assert "the link is in it" in answer.content.decode()
    OutgoingMail.objects.filter(pk=invitation.mail_id).update(trouble="refused", is_given_up=True)
    page = client.get(path).content.decode()
    assert "refused this address" in page
    assert "Make a link" in page
    page = client.post(f"{base}/link").content.decode()
    match = re.search(r"/join\?key=[\w-]{43}", page)
    assert match
    assert Client().get(match[0]).status_code == 200
    assert match[0] not in client.get(path).content.decode()


def test_resend_and_revoke_by_their_buttons(
    alice: User, alice_in_a: Actor, path: str, client_of: ClientOf
) -> None:
    invitation, key = make_invitation(alice_in_a)
    client, base = client_of(alice), f"/o/{alice_in_a.organization_id}/invitations/{invitation.pk}"
    assert "Another letter" in client.post(f"{base}/resend", follow=True).content.decode()
    assert Client().get("/join", {"key": key}).status_code == 404
    for _more in range(2):
        client.post(f"{base}/resend")
    answer = client.post(f"{base}/resend")
    assert answer.status_code == 429
    assert "4 are allowed" in answer.content.decode()
    with organization_scope(alice_in_a.organization_id):
        key = read_letter(Invitation.objects.get()).key
    assert client.post(f"{base}/revoke").status_code == 302
    assert Client().get("/join", {"key": key}).status_code == 404


def test_a_new_person_chooses_name_and_password_and_is_in(
    alice_in_a: Actor, workspace: Workspace
) -> None:
    _invitation, key = make_invitation(alice_in_a, role=Role.VIEWER)
    client, path = Client(), f"/join?key={key}"
    page = text_of(client.get(path).content.decode())
    assert "alice@alpha.example invites you to Alpha, as a viewer" in page
    for values, said in (
        ({"name": "", "password": PASSWORD}, "Give your name."),
        ({"name": "Nina", "password": "short"}, "at least 12 characters"),
        ({"name": "Nina", "password": "new@example.org"}, "too similar"),
        ({"name": "Nina", "password": "passwordpassword1"[:12]}, ""),
    )[:3]:
        answer = client.post(path, values)
        assert answer.status_code == 422
        assert said in answer.content.decode()
        assert f'value="{values["name"]}"' in answer.content.decode()
        assert not User.objects.filter(email="new@example.org").exists()
    answer = client.post(path, {"name": " Nina ", "password": PASSWORD})
    assert answer["Location"] == f"/w/{workspace.pk}/"
    assert client.get(answer["Location"]).status_code == 200
    nina = User.objects.get(email="new@example.org")
    assert nina.name == "Nina"
    assert nina.check_password(PASSWORD)
    assert client.get(path)["Location"] == f"/w/{workspace.pk}/", "the link again leads in"
    assert Client().get("/accounts/signup/").status_code == 200
    assert "By invitation" in Client().get("/accounts/signup/").content.decode()


def test_who_has_an_account_signs_in_comes_back_and_accepts(
    alice_in_a: Actor, charlie: User, workspace: Workspace
) -> None:
    _invitation, key = make_invitation(alice_in_a, charlie.email)
    client, path = Client(), f"/join?key={key}"
    page = client.get(path).content.decode()
    assert "Choose a password" not in page
    match = re.search(r'href="(/accounts/login/\?next=[^"]+)"', page)
    assert match
    answer = client.post(match[1], {"login": charlie.email, "password": PASSWORD})
    assert answer["Location"] == path
    assert "Accept" in client.get(path).content.decode()
    answer = client.post(path)
    assert answer["Location"] == f"/w/{workspace.pk}/"
    assert client.post(path)["Location"] == answer["Location"], "a double click is no error"
    assert Membership.objects.filter(user=charlie).count() == 2


def test_a_password_sent_for_an_account_that_exists_changes_nothing(
    alice_in_a: Actor, charlie: User
) -> None:
    _invitation, key = make_invitation(alice_in_a, charlie.email)
    answer = Client().post(f"/join?key={key}", {"name": "Mallory", "password": "another " * 3})
    assert answer.status_code == 409
    assert "Sign in to it" in answer.content.decode()
    charlie.refresh_from_db()
    assert charlie.check_password(PASSWORD)


def test_somebody_else_is_told_so_and_can_sign_out(
    alice_in_a: Actor, bob: User, client_of: ClientOf
) -> None:
    _invitation, key = make_invitation(alice_in_a)
    client, path = client_of(bob), f"/join?key={key}"
    page = client.get(path).content.decode()
    assert "This invitation is for new@example.org, and you are signed in as" in page
    assert "Accept" not in page
    assert client.post(path).status_code == 403
    answer = client.post("/accounts/logout/", {"next": path})
    assert answer["Location"] == path
    assert "Choose a password" in client.get(path).content.decode()


def test_dead_links_are_all_alike_to_strangers(
    alice_in_a: Actor, charlie: User, bob: User, client_of: ClientOf
) -> None:
    keys = ["", "x" * 43, "\x00"]
    expired, key = make_invitation(alice_in_a, "one@example.org")
    keys.append(key)
    revoked, key = make_invitation(alice_in_a, "two@example.org")
    keys.append(key)
    _used, used = make_invitation(alice_in_a, charlie.email)
    keys.append(used)
    assert client_of(charlie).post(f"/join?key={used}").status_code == 302
    with organization_scope(alice_in_a.organization_id):
        past = timezone.now() - timedelta(seconds=1)
        Invitation.objects.filter(pk=expired.pk).update(expires_at=past)
        revoke(actor=alice_in_a, invitation_id=revoked.pk)
    for client in (Client(), client_of(bob)):
        answers = set()
        for key in keys:
            for answer in (
                client.get("/join", {"key": key}),
                client.post(f"/join?key={key}", {"name": "Nina", "password": PASSWORD}),
            ):
                page = re.sub(
                    r'(csrf-token" content|middlewaretoken" value)="\w+"',
                    "",
                    answer.content.decode(),
                )
                answers.add((answer.status_code, page))
        assert len(answers) == 1
        assert {status for status, _page in answers} == {404}


def test_access_of_a_person_says_what_and_why(
    alice: User,
    bob: User,
    victor: User,
    organization_a: Organization,
    workspace: Workspace,
    path: str,
    client_of: ClientOf,
) -> None:
    closed = factories.restrict(factories.make_workspace(organization_a, "Secret client"))
    team = factories.make_team(organization_a, bob, name="Autumn")
    factories.make_grant(closed, team, WorkspaceRole.VIEWER)
    factories.make_grant(closed, bob, WorkspaceRole.MANAGER)
    page = text_of(client_of(alice).get(f"{path}/{bob.pk}").content.decode())
    assert "Room Makes pictures Artist: this workspace is open to all members" in page
    assert "Secret client Manages it" in page
    assert "Is let in as a manager" in page
    assert "Team Autumn is let in as a viewer" in page
    page = client_of(victor).get(f"{path}/{bob.pk}").content.decode()
    assert "Secret client" not in page, "closed to who asks"
    assert "closed to you are left out" in page
    assert "Secret client" in client_of(bob).get(f"{path}/{bob.pk}").content.decode()
    page = text_of(client_of(bob).get(f"{path}/{alice.pk}").content.decode())
    assert "Owner: reaches every workspace" in page
    page = client_of(alice).get(f"{path}/{victor.pk}").content.decode().partition("<main")[2]
    assert "Secret client" not in page
    assert "looks" in page.lower()
