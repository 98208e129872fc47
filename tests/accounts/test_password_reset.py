"""A new password by mail, and what a stranger learns from asking: nothing."""

from __future__ import annotations

import re

import pytest
from django.conf import settings as django_settings
from django.core import mail as outbox
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from accounts.models import User
from studio.core import mail
from studio.core.models import OutgoingMail
from tests.accounts.guarding import LOGIN, SECURITY, add_app, signed_in
from tests.answers import Answer, text_of
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)
RESET = "/accounts/password/reset/"
NEW = "quite another long password"


def ask(email: str) -> tuple[Client, Answer]:
    client = Client()
    return client, client.post(RESET, {"email": email})


def deliver() -> None:
    for row in OutgoingMail.objects.all():
        mail.deliver(row.pk)


def link() -> str:
    deliver()
    match = re.search(
        rf"{re.escape(django_settings.STUDIO_URL)}(/\S+)", str(outbox.outbox[-1].body)
    )
    assert match
    return match[1]


def set_password(client: Client, address: str, password: str = NEW) -> Answer:
    page = client.get(address, follow=True)
    form = {"password1": password, "password2": password}
    return client.post(page.request["PATH_INFO"], form)


def test_the_mails_link_sets_a_new_password(bob: User) -> None:
    ask(bob.email.upper())
    address = link()
    assert outbox.outbox[-1].to == [bob.email]
    client = Client()
    page = client.get(address, follow=True)
    assert "New password" in text_of(page)
    assert bob.pk in page.request["PATH_INFO"]
    assert address != page.request["PATH_INFO"], "the key does not stay in the address"

    assert set_password(client, address)["Location"] == f"{RESET}done/"

    assert client.get(SECURITY).status_code == 302, "holding a mail is not being signed in"
    assert Client().post(LOGIN, {"login": bob.email, "password": NEW}).status_code == 302
    deliver()
    assert outbox.outbox[-1].subject == "The password of your account was set anew by mail"


def test_a_link_works_once(bob: User) -> None:
    ask(bob.email)
    address = link()
    set_password(Client(), address)
    assert "used up" in text_of(Client().get(address, follow=True))


def test_a_spoiled_link_opens_nothing(bob: User) -> None:
    ask(bob.email)
    address = link()
    for wrong in (address[:-2] + "x/", address.replace(bob.pk, "usr_x"), f"{RESET}%00/x/"):
        assert Client().get(wrong, follow=True).status_code in (200, 404, 422)
        assert "password1" not in text_of(Client().get(wrong, follow=True))


def test_a_link_ends_after_three_hours(bob: User, settings: Settings) -> None:
    ask(bob.email)
    address = link()
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "used up" in text_of(Client().get(address, follow=True))


def test_sessions_end_with_the_password(bob: User) -> None:
    browser = signed_in(bob)
    ask(bob.email)
    set_password(Client(), link())
    assert browser.get(SECURITY).status_code == 302


def test_a_weak_password_is_refused_there_too(bob: User) -> None:
    ask(bob.email)
    answer = set_password(Client(), link(), "short")
    assert "at least 12 characters" in text_of(answer)


def test_the_second_factor_is_asked_for_all_the_same(bob: User) -> None:
    add_app(signed_in(bob))
    ask(bob.email)
    set_password(Client(), link())
    client = Client()
    assert client.post(LOGIN, {"login": bob.email, "password": NEW})["Location"] != "/"
    assert client.get(SECURITY).status_code == 302


@pytest.mark.parametrize(
    "stranger", ["nobody@alpha.example", "gone@alpha.example", "sso@x.example"]
)
def test_known_and_unknown_addresses_look_alike(bob: User, stranger: str) -> None:
    User.objects.create_user("gone@alpha.example", PASSWORD, is_active=False)
    User.objects.create_user("sso@x.example", None)
    seen = []
    for email in (bob.email, stranger):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client, answer = ask(email)
        page = client.get(answer["Location"])
        shape = [re.sub(r"'[^']*'|\d+", "?", query["sql"])[:60] for query in queries]
        seen.append((answer.status_code, answer["Location"], _gist(page), sorted(shape)))
    assert seen[0] == seen[1]
    deliver()
    assert [sent.to for sent in outbox.outbox] == [[bob.email]]


def _gist(page: Answer) -> str:
    return re.sub(r'content="\w{64}"|value="\w{64}"', "", text_of(page))


def test_when_no_mail_goes_out_everybody_is_told_so(bob: User, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    pages = []
    for email in (bob.email, "nobody@alpha.example"):
        client, answer = ask(email)
        deliver()
        pages.append(_gist(client.get(answer["Location"])))
    assert pages[0] == pages[1]
    assert "does not take mail right now" in pages[0]


def test_the_link_leads_to_the_studio_whatever_host_was_asked(bob: User) -> None:
    Client(headers={"Host": "localhost"}).post(RESET, {"email": bob.email})
    deliver()
    assert "://localhost" not in outbox.outbox[0].body


def test_asking_again_and_again_is_slowed_down(bob: User) -> None:
    answers = [ask(bob.email)[1] for _ in range(7)]
    assert answers[-1].status_code == 429
    assert "Try again later" in text_of(answers[-1])


def test_changing_the_password_ends_other_sessions_and_is_told(bob: User) -> None:
    here, there = signed_in(bob), signed_in(bob)
    form = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    assert here.post("/accounts/password/change/", form).status_code == 302
    assert here.get(SECURITY).status_code == 200
    assert there.get(SECURITY).status_code == 302
    deliver()
    assert outbox.outbox[-1].subject == "The password of your account was changed"
