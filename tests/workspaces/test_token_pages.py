"""The pages of API tokens: one's own, and a service account's."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, AuditEvent, Membership, Organization, User
from accounts.roles import Role, WorkspaceRole
from accounts.token_limits import Limits
from accounts.token_text import PATTERN
from studio.core.scoping import organization_scope
from studio.core.zones import end_of_day, start_of_day
from tests import factories
from tests.answers import Answer, text_of
from workspaces.models import Workspace
from workspaces.token_desk import in_words

pytestmark = pytest.mark.django_db
PAGE = "/settings/tokens"
FORM = {
    "action": "create",
    "name": "Farm",
    "scope_set": "everything",
    "reach": "all",
    "expires": "never",
}


@pytest.fixture
def bobs(client_of: Callable[[User], Client], bob: User) -> Client:
    return client_of(bob)


@pytest.fixture
def alices(client_of: Callable[[User], Client], alice: User) -> Client:
    return client_of(alice)


def secret_in(answer: Answer) -> str:
    found = re.findall(PATTERN, text_of(answer))
    assert len(found) == 1, found
    return str(found[0])


def opens(plain: str) -> int:
    return (
        Client(headers={"Authorization": f"Bearer {plain}"}).get("/api/v1/workspaces").status_code
    )


def test_a_token_is_shown_once_and_never_again(bobs: Client, workspace: Workspace) -> None:
    made = bobs.post(PAGE, FORM)

    token = ApiToken.objects.get()
    plain = secret_in(made)
    assert made["Cache-Control"] == "no-store"
    assert opens(plain) == 200
    again = text_of(bobs.get(PAGE))
    assert plain not in again
    assert token.prefix in again
    assert "Everything I may · all workspaces" in again
    assert "never expires" in again


def test_every_limit_is_kept_and_said_in_words(
    bobs: Client, workspace: Workspace, organization_a: Organization
) -> None:
    other = factories.make_workspace(organization_a, "Second room")
    form = {
        **FORM,
        "scope_set": "chosen",
        "scopes": ["job:view", "output:view"],
        "reach": "chosen",
        "workspace_ids": [other.pk],
        "expires": "30",
        "requests_per_minute": "60",
    }

    answer = bobs.post(PAGE, form)

    token = ApiToken.objects.get()
    assert token.scopes == ["job:view", "output:view"]
    assert token.workspace_ids == [other.pk]
    assert token.requests_per_minute == 60
    assert token.expires_at is not None
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    page = text_of(answer)
    assert "see jobs, their progress and previews; see pictures and their manifests" in page
    assert "only in Second room · 60 requests a minute" in page


def test_what_was_filled_in_but_not_chosen_does_nothing(bobs: Client, workspace: Workspace) -> None:
    unchosen = {"scopes": ["job:view"], "workspace_ids": [workspace.pk], "expires_on": "2020-01-01"}
    bobs.post(PAGE, {**FORM, **unchosen, "scope_set": "look"})
    token = ApiToken.objects.get()
    assert token.scopes == ["job:view", "model:view", "output:view", "workspace:view"]
    assert (token.workspace_ids, token.expires_at) == ([], None)


def test_a_last_day_is_whole_where_the_reader_is(bobs: Client, workspace: Workspace) -> None:
    day = (timezone.now() + timedelta(days=9)).date()
    form = {**FORM, "expires": "date", "expires_on": day.isoformat(), "zone": "America/New_York"}
    bobs.post(PAGE, form)
    assert ApiToken.objects.get().expires_at == end_of_day(day, "America/New_York")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": " "}, "Give the token a name."),
        ({"name": "x" * 81}, "The name has 81 characters; give it 1 to 80."),
        ({"expires": "date"}, "Give the date on which it expires."),
        ({"expires": "date", "expires_on": "soon"}, "Give a date, such as 2027-01-31."),
        ({"expires": "date", "expires_on": "2020-01-01"}, "must be in the future, within 366 days"),
        ({"expires": "date", "expires_on": "9999-12-31"}, "must be in the future, within 366 days"),
        ({"expires": ""}, "Choose when it expires."),
        ({"scope_set": "chosen"}, "Choose at least one; without any it could do nothing."),
        ({"reach": "chosen"}, "Choose at least one workspace."),
        ({"requests_per_minute": "0"}, "Requests per minute must be 1 to 6000, not 0."),
        ({"requests_per_minute": "many"}, "Give a whole number, or leave it empty."),
    ],
)
def test_what_cannot_be_is_said_in_place_and_nothing_is_lost(
    bobs: Client, workspace: Workspace, changed: dict[str, str], said: str
) -> None:
    form = {**FORM, "name": "My farm", "requests_per_minute": "77", **changed}
    answer = bobs.post(PAGE, form)
    page = text_of(answer)
    assert answer.status_code == 422
    assert said in page
    assert f'value="{form["name"].strip()}"' in page or form["name"] == " "
    assert f'value="{form["requests_per_minute"]}"' in page
    assert not ApiToken.objects.exists()


def test_a_workspace_of_others_cannot_be_named(
    bobs: Client, workspace: Workspace, workspace_b: Workspace, organization_a: Organization
) -> None:
    closed = factories.restrict(factories.make_workspace(organization_a, "Closed room"))
    assert "Closed room" not in text_of(bobs.get(PAGE))
    for foreign in (workspace_b.pk, closed.pk, "wsp_x"):
        form = {**FORM, "reach": "chosen", "workspace_ids": [foreign]}
        assert bobs.post(PAGE, form).status_code == 422
    assert not ApiToken.objects.exists()


def test_the_same_form_makes_one_token_however_often_it_is_sent(
    bobs: Client, workspace: Workspace
) -> None:
    once = re.search(r'name="once" value="([\w-]+)"', text_of(bobs.get(PAGE)))
    assert once
    form = {**FORM, "once": once[1]}
    assert bobs.post(PAGE, {**form, "name": " "}).status_code == 422, "it may be mended"
    assert bobs.post(PAGE, form).status_code == 200
    again = bobs.post(PAGE, form)
    assert again.status_code == 409
    assert "This form was sent twice" in text_of(again)
    assert ApiToken.objects.count() == 1
    cache.clear()


def test_rotating_shows_the_new_text_once_and_until_when_the_old_one_works(bobs: Client) -> None:
    old = secret_in(bobs.post(PAGE, {**FORM, "scope_set": "look"}))
    token = ApiToken.objects.get()
    form = {"action": "rotate", "token": token.pk}

    answer = bobs.post(PAGE, form)

    fresh = secret_in(answer)
    assert answer["Cache-Control"] == "no-store"
    assert "which works on until" in text_of(answer)
    assert "replaced, ends in 24 hours" in text_of(answer)
    assert opens(old) == opens(fresh) == 200
    twice = bobs.post(PAGE, form)
    assert twice.status_code == 409
    assert "This token was replaced already. Rotate its successor." in text_of(twice)
    assert ApiToken.objects.count() == 2


def test_a_revoked_token_opens_nothing(bobs: Client, alices: Client) -> None:
    plain = secret_in(bobs.post(PAGE, FORM))
    form = {"action": "revoke", "token": ApiToken.objects.get().pk}
    assert alices.post(PAGE, form).status_code == 404
    assert opens(plain) == 200
    assert bobs.post(PAGE, form).status_code == 302
    assert opens(plain) == 401
    assert "revoked" in text_of(bobs.get(PAGE))


def test_a_token_that_ends_soon_is_marked(
    bobs: Client, bob: User, organization_a: Organization
) -> None:
    for days, name in ((3, "soon"), (80, "later")):
        limits = Limits(expires_at=timezone.now() + timedelta(days=days, hours=1))
        factories.make_token(bob, organization_a, name=name, limits=limits)
    page = text_of(bobs.get(PAGE))
    assert page.count("badge--warn") == 1
    assert "expires in 3 days" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3 * 86_400 + 5, "in 3 days"),
        (86_400, "in 1 day"),
        (86_399, "in 24 hours"),
        (7_200, "in 2 hours"),
        (61, "in 1 minute"),
        (5, "in less than a minute"),
    ],
)
def test_time_left_in_words(seconds: int, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_somebody_of_two_organizations_chooses_one(
    bobs: Client, bob: User, organization_b: Organization, workspace: Workspace
) -> None:
    Membership.objects.create(user=bob, organization=organization_b, role=Role.VIEWER.value)
    room = factories.make_workspace(organization_b, "Beta's room")
    there = f"{PAGE}?organization={organization_b.pk}"

    page = text_of(bobs.get(there))
    assert "Beta's room" in page
    assert "Make pictures" not in page, "a viewer there"
    bobs.post(there, {**FORM, "reach": "chosen", "workspace_ids": [room.pk]})

    token = ApiToken.objects.get()
    assert token.organization_id == organization_b.pk
    assert token.prefix not in text_of(bobs.get(PAGE))
    assert token.prefix in text_of(bobs.get(there))


def test_a_foreign_organization_is_not_there(bobs: Client, organization_b: Organization) -> None:
    address = f"{PAGE}?organization={organization_b.pk}"
    assert bobs.get(address).status_code == bobs.post(address, FORM).status_code == 404
    assert bobs.get(f"{PAGE}?organization=org_x").status_code == 404


def test_somebody_without_an_organization_is_told_so(
    client_of: Callable[[User], Client],
) -> None:
    lonely = client_of(factories.make_user())
    assert "You belong to no organization" in text_of(lonely.get(PAGE))
    assert lonely.post(PAGE, FORM).status_code == 200
    assert not ApiToken.objects.exists()


def test_rights_of_a_grant_can_be_given_on(
    client_of: Callable[[User], Client], victor: User, workspace: Workspace
) -> None:
    victors = client_of(victor)
    assert 'value="job:submit"' not in text_of(victors.get(PAGE))
    factories.make_grant(workspace, victor, WorkspaceRole.ARTIST)
    assert 'value="job:submit"' in text_of(victors.get(PAGE))


# ---- service accounts


@pytest.fixture
def robot(organization_a: Organization) -> User:
    user = factories.make_member(organization_a, Role.ARTIST, name="Render farm")
    User.objects.filter(pk=user.pk).update(is_service=True)
    return user


def page_of(organization: Organization, user: User) -> str:
    return f"/o/{organization.pk}/service-accounts/{user.pk}/tokens"


def test_an_admin_makes_rotates_and_revokes_tokens_of_a_service_account(
    alices: Client, alice: User, robot: User, organization_a: Organization, workspace: Workspace
) -> None:
    page = page_of(organization_a, robot)
    assert "Tokens of Render farm" in text_of(alices.get(page))

    plain = secret_in(alices.post(page, {**FORM, "scope_set": "make"}))
    token = ApiToken.objects.get()
    assert token.user_id == robot.pk
    assert opens(plain) == 200
    fresh = secret_in(alices.post(page, {"action": "rotate", "token": token.pk}))
    assert opens(fresh) == 200
    answer = alices.post(page, {"action": "revoke", "token": token.pk})
    assert answer["Location"] == page
    assert (opens(plain), opens(fresh)) == (401, 200)
    with organization_scope(organization_a.pk):
        made = AuditEvent.objects.get(action="token.created")
    assert (made.actor_id, made.details["user"]) == (alice.pk, robot.pk)
    assert made.address == "127.0.0.1"


def test_a_person_has_no_such_page(
    alices: Client, alice: User, bob: User, charlie: User, organization_a: Organization
) -> None:
    for person in (alice, bob, charlie):
        assert alices.get(page_of(organization_a, person)).status_code == 404


def test_the_page_of_one_account_does_not_end_the_tokens_of_another(
    alices: Client, alice: User, robot: User, organization_a: Organization
) -> None:
    factories.make_token(alice, organization_a)
    form = {"action": "revoke", "token": ApiToken.objects.get().pk}
    assert alices.post(page_of(organization_a, robot), form).status_code == 404
    assert ApiToken.objects.get().revoked_at is None


def test_days_begin_where_the_reader_is() -> None:
    day = date(2027, 3, 28)  # clocks go forward in Berlin
    assert start_of_day(day, "Europe/Berlin") == datetime(2027, 3, 27, 23, tzinfo=UTC)
    assert end_of_day(day, "Europe/Berlin") == datetime(2027, 3, 28, 22, tzinfo=UTC)
    for odd in ("", "Mars/Base", "../../etc/passwd", "/etc/localtime", "\0", "x" * 999):
        assert start_of_day(day, odd) == datetime(2027, 3, 28, tzinfo=UTC)
    for end in (date.min, date.max):
        assert start_of_day(end, "Asia/Tokyo").tzinfo is UTC
        assert end_of_day(end, "America/New_York").tzinfo is UTC
