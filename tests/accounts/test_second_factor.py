"""Authenticator app and recovery codes; passkeys are tried in a browser (`tests/browser`)."""

from __future__ import annotations

import base64
import json
import re

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.core import mail as outbox
from django.core.cache import cache
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from pytest_django.fixtures import Settings

from accounts.models import AuditEvent, Membership, Organization, User
from accounts.second_factor import has_second_factor, open_secret
from gpuagent.protocol.sealing import SealBrokenError, new_key
from studio.core import mail
from studio.core.models import OutgoingMail
from studio.core.scoping import organization_scope
from tests.accounts.guarding import (
    APP,
    CODES,
    LOGIN,
    SECURITY,
    add_app,
    code_of,
    confirm,
    recovery_codes,
    signed_in,
)
from tests.answers import Answer, text_of
from tests.factories import PASSWORD
from tests.looking import all_columns

pytestmark = pytest.mark.django_db(transaction=True)
SECOND_STEP = "/accounts/login/code/"


def password_step(user: User) -> tuple[Client, Answer]:
    client = Client()
    return client, client.post(LOGIN, {"login": user.email, "password": PASSWORD})


def subjects() -> list[str]:
    for row in OutgoingMail.objects.order_by("created_at"):
        mail.deliver(row.pk)
    return [str(sent.subject) for sent in outbox.outbox]


def test_with_an_app_the_password_alone_opens_nothing(bob: User) -> None:
    secret = add_app(signed_in(bob))
    client, answer = password_step(bob)
    assert answer["Location"] == SECOND_STEP
    assert client.get(SECURITY).status_code == 302

    wrong = client.post(SECOND_STEP, {"code": "000000"})
    assert "did not match" in text_of(wrong)
    assert client.get(SECURITY).status_code == 302

    client.post(SECOND_STEP, {"code": code_of(secret)})
    assert client.get(SECURITY).status_code == 200


def test_a_code_is_taken_once(bob: User) -> None:
    secret = add_app(signed_in(bob))
    code = code_of(secret)
    first, _ = password_step(bob)
    first.post(SECOND_STEP, {"code": code})
    second, _ = password_step(bob)
    assert second.post(SECOND_STEP, {"code": code}).status_code == 200
    assert second.get(SECURITY).status_code == 302


def test_a_phone_whose_clock_is_a_little_off_is_understood(bob: User) -> None:
    secret = add_app(signed_in(bob))
    for steps, opens in ((-1, True), (1, True), (3, False)):
        client, _ = password_step(bob)
        client.post(SECOND_STEP, {"code": code_of(secret, steps=steps)})
        assert (client.get(SECURITY).status_code == 200) is opens


def test_guessing_codes_is_slowed_down(bob: User) -> None:
    secret = add_app(signed_in(bob))
    client, _ = password_step(bob)
    for _ in range(6):
        client.post(SECOND_STEP, {"code": "000000"})
    client.post(SECOND_STEP, {"code": code_of(secret)})
    assert client.get(SECURITY).status_code == 302


def test_recovery_codes_come_with_the_app_and_open_once_each(bob: User) -> None:
    browser = signed_in(bob)
    add_app(browser)
    codes = recovery_codes(browser)
    assert len(set(codes)) == 10
    for expected in (True, False):
        client, _ = password_step(bob)
        client.post(SECOND_STEP, {"code": codes[0]})
        assert (client.get(SECURITY).status_code == 200) is expected
    assert "9 of 10 left" in text_of(browser.get(SECURITY))
    download = browser.get(f"{CODES}download/")
    assert download.content.decode().split()[-9:] == codes[1:]
    assert "attachment" in download["Content-Disposition"]


def test_new_recovery_codes_end_the_old_ones(bob: User) -> None:
    browser = signed_in(bob)
    add_app(browser)
    old = recovery_codes(browser)
    browser.post(f"{CODES}new/")
    assert not set(old) & set(recovery_codes(browser))
    client, _ = password_step(bob)
    client.post(SECOND_STEP, {"code": old[0]})
    assert client.get(SECURITY).status_code == 302


def test_without_the_app_the_password_is_enough_again(bob: User) -> None:
    browser = signed_in(bob)
    add_app(browser)
    browser.post("/settings/security/factors/app/remove/")
    assert not Authenticator.objects.exists(), "recovery codes of nothing are nothing"
    client, _ = password_step(bob)
    assert client.get(SECURITY).status_code == 200


def test_a_wrong_first_code_keeps_the_drawing_of_the_same_secret(bob: User) -> None:
    browser = signed_in(bob)
    confirm(browser)
    first = text_of(browser.get(APP))
    again = text_of(browser.post(APP, {"code": "000000"}))
    key = re.compile(r"data-copy>(\w+)<")
    assert key.findall(first) == key.findall(again) != []
    assert "did not match" in again
    assert not has_second_factor(bob.pk)


def test_a_code_without_a_drawing_before_it_switches_nothing_on(bob: User) -> None:
    browser = signed_in(bob)
    confirm(browser)
    browser.post(APP, {"code": "000000"})
    assert not has_second_factor(bob.pk)


def test_secrets_lie_sealed_also_while_they_wait_for_their_first_code(bob: User) -> None:
    browser = signed_in(bob)
    confirm(browser)
    match = re.search(r"data-copy>([A-Z2-7=]{32})<", text_of(browser.get(APP)))
    assert match
    assert match[1] not in _everything_stored()
    browser.post(APP, {"code": code_of(match[1])})
    codes = recovery_codes(browser)
    stored = _everything_stored()
    for secret in (match[1], *codes):
        assert secret not in stored
    row = Authenticator.objects.get(type="totp")
    assert open_secret(row.data["secret"]) == match[1]


def _everything_stored() -> str:
    sessions = [json.dumps(row.get_decoded()) for row in Session.objects.all()]
    return all_columns() + "\n".join(sessions)


def test_a_new_master_key_takes_over(bob: User, settings: Settings) -> None:
    browser = signed_in(bob)
    secret, codes = add_app(browser), recovery_codes(browser)
    old, new = settings.STUDIO_MASTER_KEY.split()[0], base64.b64encode(new_key()).decode()
    settings.STUDIO_MASTER_KEY = f"{new}\n{old}"
    client, _ = password_step(bob)
    client.post(SECOND_STEP, {"code": codes[0]})
    assert client.get(SECURITY).status_code == 200

    call_command("rotate_master_key")
    call_command("rotate_master_key")

    settings.STUDIO_MASTER_KEY = new
    row = Authenticator.objects.get(type="totp")
    assert open_secret(row.data["secret"]) == secret
    assert recovery_codes(browser) == codes[1:], "what was used stays used"
    settings.STUDIO_MASTER_KEY = old
    with pytest.raises(SealBrokenError):
        open_secret(row.data["secret"])


def test_the_owner_is_told_of_every_change(bob: User) -> None:
    browser = signed_in(bob)
    add_app(browser)
    browser.post(f"{CODES}new/")
    browser.post("/settings/security/factors/app/remove/")
    assert subjects() == [
        "An authenticator app was added to your account",
        "New recovery codes were made for your account",
        "The authenticator app was removed from your account",
    ]
    assert {to for sent in outbox.outbox for to in sent.to} == {bob.email}
    assert "Firefox on Linux" in outbox.outbox[0].body


def test_organizations_see_it_in_their_audit_log(
    bob: User, organization_a: Organization, organization_b: Organization
) -> None:
    Membership.objects.create(user=bob, organization=organization_b, role="viewer")
    browser = signed_in(bob)
    add_app(browser)
    browser.post(f"{CODES}new/")
    browser.post("/settings/security/factors/app/remove/")
    form = {"oldpassword": PASSWORD, "password1": "quite another one", "password2": ""}
    browser.post("/accounts/password/change/", {**form, "password2": form["password1"]})
    for organization in (organization_a, organization_b):
        with organization_scope(organization.pk):
            events = AuditEvent.objects.order_by("id")
            assert {event.object_id for event in events} == {bob.pk}
            assert sorted(event.action for event in events) == [
                "authenticator_app.added",
                "authenticator_app.removed",
                "password.changed",
                "recovery_codes.added",
                "recovery_codes.removed",
                "recovery_codes.renewed",
                "session.started",
            ]


@pytest.mark.parametrize("address", [APP, CODES])
def test_pages_with_secrets_are_kept_by_no_browser(bob: User, address: str) -> None:
    browser = signed_in(bob)
    if address == CODES:
        add_app(browser)
    else:
        confirm(browser)
    assert "no-store" in browser.get(address)["Cache-Control"]


def test_nobody_reaches_anothers_passkey(bob: User, alice: User) -> None:
    row = Authenticator.objects.create(user=alice, type="webauthn", data={"name": "Alice's"})
    browser = signed_in(bob)
    confirm(browser)
    for what in ("rename", "remove"):
        address = f"/settings/security/factors/passkeys/{row.pk}/{what}/"
        assert browser.get(address).status_code == 404
        assert browser.post(address, {"name": "stolen"}).status_code == 404
    row.refresh_from_db()
    assert row.data["name"] == "Alice's"


@pytest.mark.parametrize("credential", ["", "{}", "[]", "null", '{"id": 1}', "\x00"])
def test_a_spoiled_passkey_is_an_answer_not_a_fault(bob: User, credential: str) -> None:
    client = Client()
    client.get("/accounts/login/passkey/", headers={"Accept": "application/json"})
    answer = client.post("/accounts/login/passkey/", {"credential": credential})
    assert answer.status_code == 302
    assert client.get(SECURITY).status_code == 302
    browser = signed_in(bob)
    confirm(browser)
    browser.get("/settings/security/factors/passkeys/add/")
    added = browser.post("/settings/security/factors/passkeys/add/", {"credential": credential})
    assert added.status_code == 200
    assert not has_second_factor(bob.pk)


def test_passkeys_are_offered_where_browsers_take_them(settings: Settings) -> None:
    settings.STUDIO_URL = "http://127.0.0.1:8000"
    pages = {
        host: text_of(Client(headers={"Host": host}).get(LOGIN))
        for host in ("127.0.0.1:8000", "localhost:8000")
    }
    assert "passkey-form" not in pages["127.0.0.1:8000"]
    assert "passkey-form" in pages["localhost:8000"]


def test_confirming_is_needed_again_after_a_while(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = signed_in(bob)
    confirm(browser)
    assert browser.get(APP).status_code == 200
    session = browser.session
    records = session["account_authentication_methods"]
    for record in records:
        record["at"] -= 301
    session["account_authentication_methods"] = records
    session.save()
    assert browser.get(APP)["Location"].startswith("/accounts/confirm/")


def test_a_wrong_password_does_not_confirm(bob: User) -> None:
    browser = signed_in(bob)
    answer = browser.post("/accounts/confirm/", {"password": "wrong", "next": APP})
    assert answer.status_code == 200
    assert browser.get(APP)["Location"].startswith("/accounts/confirm/")
    cache.clear()


def test_who_lost_everything_is_let_in_by_whoever_runs_the_studio(
    bob: User, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    browsers = {user: signed_in(user) for user in (bob, alice)}
    for browser in browsers.values():
        add_app(browser)
    call_command("remove_second_factor", bob.email.upper())
    assert "2 removed" in capsys.readouterr().out
    assert browsers[bob].get(SECURITY).status_code == 302, "who found the phone is out, too"
    client, _ = password_step(bob)
    assert client.get(SECURITY).status_code == 200
    assert has_second_factor(alice.pk)
    assert browsers[alice].get(SECURITY).status_code == 200
    with pytest.raises(CommandError, match="nobody"):
        call_command("remove_second_factor", "x@alpha.example")
