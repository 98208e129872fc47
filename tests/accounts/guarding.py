"""What people do to guard their accounts, as HTTP requests; codes are computed as a phone would."""

from __future__ import annotations

import re
import time
from typing import Protocol

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from tests.answers import text_of
from tests.factories import PASSWORD

LOGIN = "/accounts/login/"
SECURITY = "/settings/security"
APP = "/settings/security/factors/app/add/"
CODES = "/settings/security/factors/codes/"


def code_of(secret: str, *, steps: int = 0) -> str:
    """What the app shows now, or some steps of 30 seconds later."""
    code: str = format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))
    return code


def confirm(client: Client, then: str = SECURITY) -> None:
    """Say the password once more."""
    answer = client.post("/accounts/confirm/", {"password": PASSWORD, "next": then})
    assert answer.status_code == 302, text_of(answer)


def signed_in(user: User) -> Client:
    """A browser that went through the form."""
    client = Client(headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"})
    answer = client.post(LOGIN, {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302, text_of(answer)
    return client


def add_app(client: Client) -> str:
    """Add an authenticator app; its secret."""
    confirm(client)
    match = re.search(r"data-copy>([A-Z2-7=]{32})<", text_of(client.get(APP)))
    assert match
    answer = client.post(APP, {"code": code_of(match[1])})
    assert answer.status_code == 302, text_of(answer)
    cache.clear()  # a code is taken once: the tests' clock does not move as people's does
    return match[1]


def recovery_codes(client: Client) -> list[str]:
    """Those on the page."""
    found = re.search(r"data-copy[^>]*>([\d\s]+)<", text_of(client.get(CODES)))
    assert found
    return found[1].split()


class Policy(Protocol):
    """The fixture `set_policy`."""

    def __call__(
        self, organization_id: str, *, second_factor: bool = False, hours: int | None = None
    ) -> None: ...
