"""What an organization may ask of those who enter: a second factor, and to have come recently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import policy
from accounts.models import ApiToken, Organization, User
from studio.core.errors import SecondFactorRequiredError, SessionExpiredError
from tests.accounts.guarding import (
    LOGIN,
    SECURITY,
    Policy,
    add_app,
    recovery_codes,
    signed_in,
)
from tests.answers import text_of
from tests.factories import PASSWORD
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
HOUR = 3_600.0


def records(*entries: dict[str, Any], user: str = "usr_1") -> dict[str, Any]:
    return {
        "account_authentication_methods": list(entries),
        "account_authentication_methods_user": user,
    }


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({}, None),
        (records(), None),
        (records({"method": "password", "at": 5.0}), 5.0),
        (records({"method": "password", "at": 5.0}, {"method": "mfa", "at": 7.0}), 7.0),
        (
            records(
                {"method": "password", "at": 5.0},
                {"method": "password", "at": 9.0, "reauthenticated": True},
            ),
            5.0,
        ),
        (records({"method": "password", "at": 5.0}, user="usr_2"), None),
    ],
)
def test_when_somebody_signed_in(session: dict[str, Any], expected: float | None) -> None:
    assert policy.signed_in_at(session, "usr_1") == expected


@pytest.mark.parametrize(
    ("since", "hours", "too_old"),
    [
        (0.0, None, False),
        (None, None, False),
        (None, 8, True),
        (0.0, 2, False),
        (0.0, 1, True),
        (-1.0, 1, True),
    ],
)
def test_when_a_session_is_too_old(since: float | None, hours: int | None, too_old: bool) -> None:
    assert policy.is_too_old(since, hours=hours, now=HOUR) is too_old


def age(browser: Client, seconds: float) -> None:
    """As if this browser had signed in so long ago."""
    session = browser.session
    entries = session["account_authentication_methods"]
    session["account_authentication_methods"] = [
        {**entry, "at": entry["at"] - seconds} for entry in entries
    ]
    session.save()


def test_a_young_session_enters(bob: User, workspace: Workspace, set_policy: Policy) -> None:
    set_policy(workspace.organization_id, hours=8)
    browser = signed_in(bob)
    age(browser, 7.9 * HOUR)
    assert browser.get(f"/w/{workspace.pk}/").status_code == 200


def test_an_old_session_ends_and_leads_back(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, hours=8)
    browser, room = signed_in(bob), f"/w/{workspace.pk}/?a=1"
    age(browser, 8.1 * HOUR)

    page = browser.get(room, follow=True)

    assert page.request["PATH_INFO"] == LOGIN
    assert "Alpha ends sessions after 8 h. Sign in again" in text_of(page)
    assert browser.get(SECURITY).status_code == 302, "signed out everywhere"
    form = {"login": bob.email, "password": PASSWORD, "next": room}
    assert browser.post(LOGIN, form)["Location"] == room
    assert browser.get(room).status_code == 200


def test_saying_the_password_again_does_not_make_a_session_younger(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, hours=8)
    browser = signed_in(bob)
    age(browser, 8.1 * HOUR)
    browser.post("/accounts/confirm/", {"password": PASSWORD, "next": SECURITY})
    assert browser.get(f"/w/{workspace.pk}/").status_code == 302


def test_a_session_of_unknown_age_is_old(
    bob: User, workspace: Workspace, set_policy: Policy, client_of: Callable[[User], Client]
) -> None:
    set_policy(workspace.organization_id, hours=8)
    assert client_of(bob).get(f"/w/{workspace.pk}/").status_code == 302


@pytest.mark.parametrize("headers", [{"Accept": "application/json"}, {"HX-Request": "true"}])
def test_scripts_are_told_with_a_code(
    bob: User, workspace: Workspace, set_policy: Policy, headers: dict[str, str]
) -> None:
    set_policy(workspace.organization_id, second_factor=True)
    browser = signed_in(bob)
    answer = browser.get(f"/w/{workspace.pk}/queue", headers=headers)
    assert answer.status_code == 403
    assert "second_factor.required" in text_of(answer) or "second factor" in text_of(answer)
    set_policy(workspace.organization_id, hours=1)
    age(browser, 2 * HOUR)
    answer = browser.get(f"/w/{workspace.pk}/queue", headers=headers)
    assert answer.status_code == 401
    if "Accept" in headers:
        assert answer.json()["code"] == "session.expired"


def test_nothing_is_changed_by_a_form_of_somebody_kept_out(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, second_factor=True)
    answer = signed_in(bob).post(f"/w/{workspace.pk}/jobs", {"prompt": "x"})
    assert answer.status_code == 403


def test_who_has_no_second_factor_adds_one_and_comes_back(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, second_factor=True)
    browser, room = signed_in(bob), f"/w/{workspace.pk}/?a=1"

    page = browser.get(room, follow=True)
    assert page.request["PATH_INFO"] == SECURITY
    assert "Alpha asks for a second factor" in text_of(page)

    add_app(browser)
    recovery_codes(browser)
    assert browser.get("/settings/security/go-on")["Location"] == room
    assert browser.get(room).status_code == 200
    assert browser.get("/settings/security/go-on")["Location"] == "/", "once"


@pytest.mark.django_db(transaction=True)  # allauth tells of it after the commit
def test_a_session_that_a_password_alone_has_opened_does_not_outlive_the_first_second_factor(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    """Whoever had found out the password is not let in by a factor that its owner adds later."""
    set_policy(workspace.organization_id, second_factor=True)
    stranger, browser = signed_in(bob), signed_in(bob)
    add_app(browser)
    assert stranger.get(f"/w/{workspace.pk}/")["Location"].startswith("/accounts/login/")
    assert browser.get(f"/w/{workspace.pk}/").status_code == 200


def test_who_gives_it_up_again_is_out_again(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, second_factor=True)
    browser = signed_in(bob)
    add_app(browser)
    assert browser.get(f"/w/{workspace.pk}/").status_code == 200
    browser.post("/settings/security/factors/app/remove/")
    assert browser.get(f"/w/{workspace.pk}/").status_code == 302


def test_another_organizations_rules_are_its_own(
    charlie: User, workspace: Workspace, workspace_b: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, second_factor=True, hours=1)
    browser = signed_in(charlie)
    age(browser, 2 * HOUR)
    assert browser.get(f"/w/{workspace_b.pk}/").status_code == 200
    assert browser.get(f"/w/{workspace.pk}/").status_code == 404, "not even its rules are seen"
    assert browser.get(f"/w/{workspace_b.pk}/").status_code == 200


def test_a_personal_token_is_worth_no_more_than_its_person(
    bob: User, bob_api: Client, organization_a: Organization, set_policy: Policy
) -> None:
    set_policy(organization_a.pk, hours=1)
    assert bob_api.get("/api/v1/workspaces").status_code == 200, "sessions are not its business"
    set_policy(organization_a.pk, second_factor=True)
    refused = bob_api.get("/api/v1/workspaces")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor.required")
    add_app(signed_in(bob))
    assert bob_api.get("/api/v1/workspaces").status_code == 200


def test_who_may_not_enter_makes_no_token_that_would(
    bob: User, workspace: Workspace, set_policy: Policy
) -> None:
    set_policy(workspace.organization_id, hours=1)
    browser = signed_in(bob)
    age(browser, 2 * HOUR)
    answer = browser.post("/settings/tokens", {"action": "create", "name": "For later"})
    assert answer.status_code == 401
    assert not ApiToken.objects.exists()


def test_a_services_token_has_nobody_behind_it(
    bob: User, organization_a: Organization, set_policy: Policy
) -> None:
    set_policy(organization_a.pk, second_factor=True)
    organization_a.refresh_from_db()
    policy.check_token(organization_a, bob.pk, is_service=True)
    with pytest.raises(SecondFactorRequiredError):
        policy.check_token(organization_a, bob.pk)


def test_the_sentences_name_organization_and_limit() -> None:
    assert (
        "Alpha ends sessions after 8 h"
        in SessionExpiredError(organization="Alpha", hours=8).message
    )
