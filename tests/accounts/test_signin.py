"""Signing in and out by e-mail address; nobody signs up from outside."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.factories import PASSWORD
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


def sign_in(client: Client, email: str, password: str = PASSWORD) -> int:
    return client.post(LOGIN, {"login": email, "password": password}).status_code


def test_the_right_password_leads_to_the_room(
    client: Client, bob: User, workspace: Workspace
) -> None:
    response = client.post(LOGIN, {"login": bob.email, "password": PASSWORD}, follow=True)

    assert response.redirect_chain[-1][0] == f"/w/{workspace.pk}/"
    assert response.status_code == 200


def test_the_address_is_read_without_regard_to_case(client: Client, bob: User) -> None:
    assert sign_in(client, bob.email.upper()) == 302


def test_a_page_asked_for_before_is_shown_after(
    client: Client, bob: User, workspace: Workspace
) -> None:
    form = {"login": bob.email, "password": PASSWORD, "next": "/settings/tokens"}
    assert client.post(LOGIN, form)["Location"] == "/settings/tokens"


def test_nobody_is_led_to_another_site(client: Client, bob: User) -> None:
    form = {"login": bob.email, "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post(LOGIN, form)["Location"] == "/"


def test_a_wrong_password_and_an_unknown_address_look_alike(client: Client, bob: User) -> None:
    answers = [
        client.post(LOGIN, {"login": email, "password": "not the password"})
        for email in (bob.email, "nobody@alpha.example")
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    errors = [answer.context["form"].errors.as_text() for answer in answers]
    assert errors[0] == errors[1] != ""


def test_somebody_deactivated_does_not_get_in(client: Client, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    sign_in(client, bob.email)
    assert client.get("/settings/tokens").status_code == 302


def test_guessing_is_slowed_down(client: Client, bob: User) -> None:
    for _ in range(6):
        sign_in(client, bob.email, "wrong")
    assert sign_in(client, bob.email) != 302


def test_the_session_gets_a_new_key_at_sign_in(client: Client, bob: User) -> None:
    client.get(LOGIN)
    before = client.session.session_key
    sign_in(client, bob.email)
    assert client.session.session_key != before


def test_signing_out_ends_the_session(client: Client, bob: User, workspace: Workspace) -> None:
    sign_in(client, bob.email)
    assert client.get(f"/w/{workspace.pk}/").status_code == 200

    client.post("/accounts/logout/")

    assert client.get(f"/w/{workspace.pk}/").status_code == 302


def test_signing_up_is_closed(client: Client) -> None:
    form = {"email": "new@example.org", "password1": PASSWORD, "password2": PASSWORD}

    page, answer = client.get("/accounts/signup/"), client.post("/accounts/signup/", form)

    assert b"password1" not in page.content
    assert answer.status_code == 200
    assert not User.objects.exists()


@pytest.mark.parametrize("page", ["email/", "password/set/", "confirm-email/x/", "signup/passkey/"])
def test_nobody_can_take_another_address(bob: User, page: str) -> None:
    client = Client()
    client.force_login(bob)
    address = f"/accounts/{page}"
    assert client.get(address).status_code == 404
    claim = {"email": "ceo@alpha.example", "action_add": "", "action_primary": ""}
    assert client.post(address, claim).status_code == 404
    bob.refresh_from_db()
    assert bob.email == "bob@alpha.example"
