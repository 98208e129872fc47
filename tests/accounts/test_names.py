"""Names: one rule for organizations, people, teams, service accounts, tokens and workspaces."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import Organization, User
from accounts.names import name_problems
from tests import factories
from tests.answers import text_of

UNSEEN = "invoice\u202egnp.exe"


@pytest.mark.parametrize(
    "name", ["A", "Zoë & Søn", "香水", "می\u200cخواهم", "👩\u200d🎨 art", "x" * 80]
)
def test_a_name_can_be_in_any_script(name: str) -> None:
    assert name_problems(name, 80) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "length"),
        ("x" * 81, "length"),
        (UNSEEN, "characters"),
        ("two\nlines", "characters"),
        ("\u200b", "characters"),
        ("a\x00b", "characters"),
        ("a\ufeff", "characters"),
    ],
)
def test_what_cannot_be_a_name_is_said(name: str, code: str) -> None:
    assert [problem.code for problem in name_problems(name, 80)] == [code]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("page", "form"),
    [
        ("/organizations/new", {}),
        ("/o/{}/settings", {}),
        ("/o/{}/teams/new", {}),
        ("/o/{}/service-accounts", {"role": "artist"}),
        ("/o/{}/workspaces", {"color": "violet"}),
        ("/settings/tokens", {"action": "create", "expires": "30", "scope_set": "look"}),
    ],
)
def test_pages_refuse_what_cannot_be_seen_and_say_so(
    organization_a: Organization,
    alice: User,
    client_of: Callable[[User], Client],
    page: str,
    form: dict[str, str],
) -> None:
    factories.make_workspace(organization_a)
    answer = client_of(alice).post(
        page.format(organization_a.pk), {"reach": "all", **form, "name": UNSEEN}
    )
    assert answer.status_code == 422
    assert "a character that cannot be seen" in text_of(answer)
