"""The list of sessions on the security page, and ending them."""

from __future__ import annotations

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts import activity
from accounts.devices import describe_device, is_phone
from accounts.models import User
from tests.accounts.guarding import SECURITY, signed_in
from tests.answers import text_of

pytestmark = pytest.mark.django_db


def row_of(browser: Client) -> UserSession:
    return UserSession.objects.get(session_key=browser.session.session_key)


def end(browser: Client, row: UserSession) -> int:
    return browser.post(SECURITY, {"action": "end", "session": row.pk}).status_code


def test_both_sessions_are_shown_and_which_is_this_one(bob: User) -> None:
    here, _there = signed_in(bob), signed_in(bob)
    text = text_of(here.get(SECURITY))
    assert text.count("Firefox on Linux") == 3, "two names, and what the button of one is called"
    assert text.count("this one") == 1
    assert "127.0.0.1" in text


def test_another_session_ends_at_once(bob: User) -> None:
    here, there = signed_in(bob), signed_in(bob)
    assert end(here, row_of(there)) == 302
    assert there.get(SECURITY).status_code == 302
    assert here.get(SECURITY).status_code == 200


def test_all_others_end_together(bob: User) -> None:
    here, others = signed_in(bob), [signed_in(bob) for _ in range(3)]
    here.post(SECURITY, {"action": "end_others"})
    assert [other.get(SECURITY).status_code for other in others] == [302] * 3
    assert here.get(SECURITY).status_code == 200


def test_ending_this_one_is_signing_out(bob: User) -> None:
    here = signed_in(bob)
    end(here, row_of(here))
    assert here.get(SECURITY).status_code == 302


def test_nobody_ends_anothers_session_or_learns_of_it(bob: User, alice: User) -> None:
    hers, his = signed_in(alice), signed_in(bob)
    unknown = his.post(SECURITY, {"action": "end", "session": "999999"})
    foreign = his.post(SECURITY, {"action": "end", "session": row_of(hers).pk})
    assert (unknown.status_code, foreign.status_code) == (404, 404)
    assert hers.get(SECURITY).status_code == 200
    his.post(SECURITY, {"action": "end_others"})
    assert hers.get(SECURITY).status_code == 200


@pytest.mark.parametrize("session", ["", "x", "-1", "²", "9" * 40])
def test_a_spoiled_number_is_no_session(bob: User, session: str) -> None:
    answer = signed_in(bob).post(SECURITY, {"action": "end", "session": session})
    assert answer.status_code in (404, 422)


def test_ending_twice_says_that_it_is_gone(bob: User) -> None:
    here, there = signed_in(bob), signed_in(bob)
    row = row_of(there)
    assert [end(here, row), end(here, row)] == [302, 404]


def test_last_seen_is_noted_but_not_at_every_request(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = signed_in(bob)
    browser.get(SECURITY)
    before = row_of(browser).last_seen_at
    browser.get(SECURITY)
    assert row_of(browser).last_seen_at == before
    monkeypatch.setattr(activity, "EVERY_SECONDS", 0.0)
    browser.get(SECURITY)
    assert row_of(browser).last_seen_at > before


def test_where_a_session_is_now_shows(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "EVERY_SECONDS", 0.0)
    here, there = signed_in(bob), signed_in(bob)
    there.get(SECURITY, REMOTE_ADDR="203.0.113.9")
    assert "203.0.113.9" in text_of(here.get(SECURITY))


def test_what_a_browser_claims_of_its_address_is_not_believed(bob: User) -> None:
    browser = Client(headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
    browser.force_login(bob)
    text = text_of(browser.get(SECURITY))
    assert "127.0.0.1" in text
    assert "198.51.100.1" not in text
    assert "203.0.113.9" not in text


def test_what_a_browser_says_of_itself_is_text(bob: User) -> None:
    browser = Client(headers={"User-Agent": "<script>alert(1)</script>"})
    browser.force_login(bob)
    assert "Unknown browser" in text_of(browser.get(SECURITY))


@pytest.mark.parametrize(
    ("text", "device", "phone"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/142.0 Safari/537.36 Edg/142.0",
            "Edge on Windows",
            0,
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18 Safari/605", "Safari on Mac", 0),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile Safari/604", "Safari on iPhone", 1),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/142.0 Mobile Safari", "Chrome on Android", 1),
        ("curl/8.0", "Unknown browser", 0),
        ("", "Unknown browser", 0),
    ],
)
def test_devices_in_words(text: str, device: str, phone: int) -> None:
    assert describe_device(text) == device
    assert is_phone(text) is bool(phone)
