"""Coming in by an OpenID provider: who gets in, and every way in which an answer can be wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.conf import LazySettings
from django.test import Client

from accounts.models import AuditEvent, IdentityProvider, Membership, Organization, User
from accounts.sign_on import views
from studio.core.scoping import system_scope
from tests.accounts.identity_providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    OpenIdProvider,
    open_id_provider,
)
from tests.accounts.signing_on import come_by_oidc, make_oidc, path_of, set_off
from tests.answers import text_of
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def there(settings: LazySettings) -> Iterator[OpenIdProvider]:
    settings.SSO_HOSTS = frozenset({"127.0.0.1"})
    with open_id_provider() as provider:
        yield provider


@pytest.fixture
def row(organization_a: Organization, there: OpenIdProvider) -> IdentityProvider:
    return make_oidc(organization_a, there)


def test_a_newcomer_gets_an_account_and_a_membership_in_that_organization(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace
) -> None:
    answer = come_by_oidc(client, row, there, f"/w/{workspace.pk}/?view=queue")

    assert answer.status_code == 302
    assert answer["Location"] == f"/w/{workspace.pk}/?view=queue"
    assert client.get(f"/w/{workspace.pk}/").status_code == 200
    user = User.objects.get(email="new@alpha.example")
    assert (user.name, user.has_usable_password()) == ("New Person", False)
    (membership,) = Membership.objects.filter(user=user)
    assert (membership.organization_id, membership.role) == (row.organization_id, "artist")
    with system_scope():
        event = AuditEvent.objects.get(action="member.joined_by_sign_on")
    assert (event.actor_id, event.details["provider"]) == (user.pk, row.pk)


def test_nothing_is_kept_but_provider_and_subject(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    come_by_oidc(client, row, there)
    (identity,) = SocialAccount.objects.all()
    assert (identity.provider, identity.uid) == (row.pk, "subject-1")
    assert identity.extra_data == {"made_member": True}
    assert not SocialApp.objects.exists()
    assert not SocialToken.objects.exists()


def test_the_same_subject_is_the_same_person_whatever_address_it_has_now(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    come_by_oidc(client, row, there)
    there.claims["email"] = "married@alpha.example"
    second = Client()
    assert come_by_oidc(second, row, there)["Location"] == "/"
    assert User.objects.count() == 1
    assert second.session["_auth_user_id"] == User.objects.get().pk


def test_what_is_asked_has_state_nonce_and_pkce(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    asked = {k: v[0] for k, v in parse_qs(urlsplit(set_off(client, row)).query).items()}
    assert asked["client_id"] == CLIENT_ID
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"].endswith(f"/sso/{row.pk}/callback")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert CLIENT_SECRET not in str(asked)


def test_an_address_that_has_a_query_keeps_it(
    client: Client, organization_a: Organization, there: OpenIdProvider
) -> None:
    there.discovery = {
        "authorization_endpoint": f"{there.address}/authorization_endpoint?policy=b2c"
    }
    row = make_oidc(organization_a, there)
    asked = parse_qs(urlsplit(set_off(client, row)).query)
    assert (asked["policy"], asked["client_id"]) == (["b2c"], [CLIENT_ID])
    assert come_by_oidc(client, row, there).status_code == 302


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "audience": {"claims": {"aud": "another"}},
    "one of several audiences": {"claims": {"aud": [CLIENT_ID, "another"]}},
    "for another party": {"claims": {"azp": "another"}},
    "issuer": {"claims": {"iss": "https://evil.example"}},
    "nonce": {"claims": {"nonce": "of another"}},
    "no nonce": {"claims": {"nonce": None}},
    "expired": {"claims": {"exp": NOW - 120, "iat": NOW - 400}},
    "never ends": {"claims": {"exp": None}},
    "from the future": {"claims": {"iat": NOW + 7_200, "exp": NOW + 9_000}},
    "no subject": {"claims": {"sub": None}},
    "empty subject": {"claims": {"sub": ""}},
    "too long a subject": {"claims": {"sub": "x" * 192}},
    "signed by another": {"signs_with": "other"},
    "an unknown key": {"key_id": "two"},
    "unsigned": {"algorithm": "none"},
    "signed with the public key": {"algorithm": "HS256"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_token_that_is_wrong_in_one_thing_lets_nobody_in(
    client: Client, row: IdentityProvider, there: OpenIdProvider, wrong: dict[str, Any]
) -> None:
    for name, value in wrong.items():
        setattr(there, name, value)
    answer = come_by_oidc(client, row, there)
    assert answer.status_code == 403
    assert "could not be proved" in text_of(answer)
    assert "_auth_user_id" not in client.session
    assert not User.objects.filter(email="new@alpha.example").exists()


def test_an_answer_counts_once_and_only_in_the_browser_that_asked(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    back = path_of(there.approve(set_off(client, row)))
    assert Client().get(back).status_code == 403
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 403


def test_a_state_is_bound_to_its_provider(
    client: Client,
    row: IdentityProvider,
    there: OpenIdProvider,
    organization_b: Organization,
) -> None:
    other = make_oidc(organization_b, there)
    back = path_of(there.approve(set_off(client, row)))
    assert client.get(back.replace(row.pk, other.pk)).status_code == 403


def test_another_issuers_answer_is_not_taken(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    back = path_of(there.approve(set_off(client, row)))
    assert client.get(back + "&iss=https://evil.example").status_code == 403


def test_what_the_provider_writes_stands_on_no_page(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    state = parse_qs(urlsplit(set_off(client, row)).query)["state"][0]
    data = {"state": state, "error": "access_denied", "error_description": "CALL +1 555"}
    answer = client.get(f"/sso/{row.pk}/callback", data)
    assert answer.status_code == 403
    assert "CALL" not in text_of(answer)


@pytest.mark.parametrize(
    "address",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "x"],
)
def test_nobody_is_led_to_another_site(
    client: Client, row: IdentityProvider, there: OpenIdProvider, address: str
) -> None:
    assert come_by_oidc(client, row, there, address)["Location"] == "/"


def test_a_provider_that_is_switched_off_answers_as_if_it_did_not_exist(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    back = path_of(there.approve(set_off(client, row)))
    with system_scope():
        IdentityProvider.objects.update(is_active=False)
    for address in (f"/sso/{row.pk}/", back, "/sso/idp_00000000000000000000000000/"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert row.name not in text_of(answer)


def test_a_provider_that_does_not_answer_says_so(
    client: Client, row: IdentityProvider, there: OpenIdProvider, settings: LazySettings
) -> None:
    back = path_of(there.approve(set_off(client, row)))
    settings.SSO_HOSTS = frozenset()  # the guard stands between
    answer = client.get(back)
    assert answer.status_code == 403
    assert "did not answer" in text_of(answer)


def test_what_the_token_does_not_say_is_asked_for(
    client: Client, organization_a: Organization, there: OpenIdProvider
) -> None:
    there.userinfo = {"sub": "subject-1", "email": "late@alpha.example", "groups": ["boss"]}
    there.claims["email"] = None
    mapping = {"boss": "admin"}
    row = make_oidc(organization_a, there, role_claim="groups", role_mapping=mapping)
    assert come_by_oidc(client, row, there).status_code == 302
    member = Membership.objects.get(user__email="late@alpha.example")
    assert member.role == "admin"


def test_what_is_said_of_another_subject_is_not_taken(
    client: Client, organization_a: Organization, there: OpenIdProvider
) -> None:
    there.userinfo = {"sub": "subject-2", "email": "late@alpha.example"}
    there.claims["email"] = None
    row = make_oidc(organization_a, there)
    assert come_by_oidc(client, row, there).status_code == 403
    assert not User.objects.exists()


def test_too_many_from_one_address_are_slowed_down(
    client: Client, row: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(views.RATES, "sign_on", "2/m/ip")
    answers = [client.post(f"/sso/{row.pk}/callback").status_code for _ in range(1)]
    answers += [client.get(f"/sso/{row.pk}/").status_code for _ in range(3)]
    assert answers == [405, 302, 302, 429]


@pytest.mark.parametrize("said", [{"sub": "a\x00b"}, {"name": "a\x00b"}, {"email": "\x00@a.org"}])
def test_what_cannot_be_stored_is_refused(
    client: Client, row: IdentityProvider, there: OpenIdProvider, said: dict[str, str]
) -> None:
    there.claims |= said
    assert come_by_oidc(client, row, there).status_code == 403
    assert client.get("/sso/idp_%00/").status_code == 404


@pytest.mark.parametrize("email", [None, "", "no address", "a@b@c", "a@" + "b" * 60 + ".org" * 60])
def test_somebody_without_an_address_is_told(
    client: Client, row: IdentityProvider, there: OpenIdProvider, email: str | None
) -> None:
    there.claims["email"] = email
    answer = come_by_oidc(client, row, there)
    assert answer.status_code == 403
    assert "e-mail address" in text_of(answer)


def test_the_browser_remembers_where_it_came_from(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    assert row.name not in text_of(client.get("/accounts/login/"))
    come_by_oidc(client, row, there)
    client.post("/accounts/logout/")
    page = text_of(client.get("/accounts/login/?next=/settings/tokens"))
    assert f'href="/sso/{row.pk}/?next=/settings/tokens"' in page
    assert row.name in page


def test_the_code_from_an_admin_leads_to_the_provider(
    client: Client, row: IdentityProvider
) -> None:
    for typed in (row.pk, f"http://127.0.0.1:8000/sso/{row.pk}/", f" {row.pk} "):
        page = client.post("/sso/", {"code": typed})
        assert f'href="/sso/{row.pk}/"' in text_of(page)
    wrong = client.post("/sso/", {"code": "idp_0"})
    assert wrong.status_code == 422
    assert "idp_0" in text_of(wrong)
