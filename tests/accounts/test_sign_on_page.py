"""The page where owners set single sign-on up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from accounts.models import AuditEvent, IdentityProvider, Organization, User
from accounts.sign_on.outgoing import may_ask, new_session
from accounts.sign_on.providers import OidcConfig, SamlConfig, open_config
from gpuagent.protocol.sealing import SealBrokenError
from studio import env
from studio.core.scoping import system_scope
from tests.accounts.identity_providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    OpenIdProvider,
    SamlProvider,
    open_id_provider,
)
from tests.accounts.signing_on import come_by_oidc, make_oidc, make_saml
from tests.answers import text_of
from tests.core.web import redirect, reply, site

pytestmark = pytest.mark.django_db


@pytest.fixture
def there(settings: LazySettings) -> Iterator[OpenIdProvider]:
    settings.SSO_HOSTS = frozenset({"127.0.0.1"})
    with open_id_provider() as provider:
        yield provider


@pytest.fixture
def owner(alice: User, client_of: Callable[[User], Client]) -> Client:
    return client_of(alice)


@pytest.fixture
def page(organization_a: Organization) -> str:
    return f"/o/{organization_a.pk}/sign-on"


def oidc_form(there: OpenIdProvider, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # fields
    form = {
        "name": "Acme accounts",
        "issuer": there.address,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "role_claim": "groups",
        "mapping_value": ["bosses", "", "painters"],
        "mapping_role": ["admin", "artist", "artist"],
        "default_role": "",
        "covers_second_factor": "on",
    }
    return {**form, **changes}


def only_row() -> IdentityProvider:
    with system_scope():
        return IdentityProvider.objects.select_related("organization").get()


def test_an_owner_adds_an_openid_provider_and_it_works(
    owner: Client, page: str, there: OpenIdProvider, client: Client
) -> None:
    answer = owner.post(f"{page}/new?kind=oidc", oidc_form(there))
    assert answer.status_code == 302, text_of(answer)
    row = only_row()
    shown = text_of(owner.get(answer["Location"]))
    assert f"/sso/{row.pk}/callback" in shown
    assert row.role_mapping == {"bosses": "admin", "painters": "artist"}
    there.claims["groups"] = ["bosses"]
    assert come_by_oidc(client, row, there).status_code == 302


def test_the_secret_is_sealed_and_never_shown(
    owner: Client, page: str, there: OpenIdProvider, organization_b: Organization
) -> None:
    edit = owner.post(f"{page}/new?kind=oidc", oidc_form(there))["Location"]
    assert CLIENT_SECRET not in text_of(owner.get(edit))
    row = only_row()
    assert CLIENT_SECRET.encode() not in bytes(row.sealed_config)
    row.organization = organization_b
    with pytest.raises(SealBrokenError):
        open_config(row)


def test_an_empty_secret_keeps_the_one_there_is_but_not_for_another_issuer(
    owner: Client, page: str, there: OpenIdProvider
) -> None:
    edit = owner.post(f"{page}/new?kind=oidc", oidc_form(there))["Location"]
    assert owner.post(edit, oidc_form(there, client_secret="", name="New")).status_code == 302
    config = open_config(only_row())
    assert isinstance(config, OidcConfig)
    assert (only_row().name, config.client_secret) == ("New", CLIENT_SECRET)
    with open_id_provider() as other:
        answer = owner.post(edit, oidc_form(other, client_secret=""))
    assert answer.status_code == 422
    assert "Give the client secret" in text_of(answer)
    assert not [form for path, form, _header in other.asked if form]


def test_another_issuer_knows_other_people(
    owner: Client, page: str, there: OpenIdProvider, client: Client
) -> None:
    """Its subject-1 is not the subject-1 of before: nobody may become somebody by the change."""
    edit = owner.post(f"{page}/new?kind=oidc", oidc_form(there, default_role="artist"))["Location"]
    come_by_oidc(client, only_row(), there)
    with open_id_provider() as other:
        assert owner.post(edit, oidc_form(other, default_role="artist")).status_code == 302
        assert come_by_oidc(Client(), only_row(), other).status_code == 403


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "Give it a name"),
        ({"issuer": "http://sso.alpha.example"}, "must be an https address"),
        ({"issuer": "https://bob:x@alpha.example"}, "must be an https address"),
        ({"issuer": "https://127.0.0.2"}, "Nothing that describes"),
        ({"issuer": "file:///etc/passwd"}, "must be an https address"),
        ({"client_id": ""}, "Give the client id"),
        ({"client_secret": ""}, "Give the client secret"),
        ({"role_claim": ""}, "Name the claim"),
        ({"mapping_value": ["a", "a"], "mapping_role": ["admin", "viewer"]}, "stands in the table"),
        ({"mapping_value": ["a"], "mapping_role": ["emperor"]}, "Choose a role"),
        ({"mapping_value": ["a"], "mapping_role": ["owner"]}, "Choose a role"),
        ({"default_role": "owner"}, "Select a valid choice"),
        (
            {"issuer": "https://accounts.google.com/", "default_role": "viewer"},
            "Anybody can have an account there",
        ),
        ({"mapping_value": ["a" * 201], "mapping_role": ["admin"]}, "200 characters"),
    ],
)
def test_what_is_wrong_is_said_in_place_and_nothing_is_lost(
    owner: Client, page: str, there: OpenIdProvider, changes: dict[str, Any], sentence: str
) -> None:
    answer = owner.post(f"{page}/new?kind=oidc", oidc_form(there, **changes))
    assert answer.status_code == 422
    text = text_of(answer)
    assert sentence in text
    assert 'value="painters"' in text or "mapping_value" in changes
    assert CLIENT_SECRET not in text
    with system_scope():
        assert not IdentityProvider.objects.exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"issuer": "https://evil.example"}, "of another issuer"),
        ({"token_endpoint": "http://10.0.0.1/token"}, "token_endpoint"),
        ({"jwks_uri": ""}, "jwks_uri"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
    ],
)
def test_a_discovery_document_is_not_believed_in_everything(
    owner: Client, page: str, there: OpenIdProvider, said: dict[str, str], sentence: str
) -> None:
    there.discovery = said
    answer = owner.post(f"{page}/new?kind=oidc", oidc_form(there))
    assert answer.status_code == 422
    assert sentence in text_of(answer)


def saml_form(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # fields
    return {"name": "Old accounts", "default_role": "viewer", "metadata": "", **changes}


def test_an_owner_adds_a_saml_provider_by_its_metadata(owner: Client, page: str) -> None:
    answer = owner.post(f"{page}/new?kind=saml", saml_form(metadata=SamlProvider().metadata))
    assert answer.status_code == 302, text_of(answer)
    row = only_row()
    config = open_config(row)
    assert isinstance(config, SamlConfig)
    assert config.sso_url == SamlProvider().sso_url
    shown = text_of(owner.get(answer["Location"]))
    assert f"/sso/{row.pk}/acs" in shown
    assert f"/sso/{row.pk}/metadata" in shown
    kept = owner.post(answer["Location"], saml_form(name="Renamed"))
    assert kept.status_code == 302
    assert open_config(only_row()) == config


def test_metadata_is_read_from_a_listed_address(
    owner: Client, page: str, settings: LazySettings
) -> None:
    with site(reply(SamlProvider().metadata.encode())) as there:
        form = saml_form(metadata_url=there.url())
        assert owner.post(f"{page}/new?kind=saml", form).status_code == 422
        assert not there.asked
        settings.SSO_HOSTS = frozenset({f"127.0.0.1:{there.port}"})
        assert owner.post(f"{page}/new?kind=saml", form).status_code == 302


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "", "Paste the provider's metadata"),
        (lambda text: "<html>", "no XML"),
        (lambda text: text.replace("HTTP-Redirect", "HTTP-POST"), "HTTP-Redirect"),
        (lambda text: text.replace("MII", "xxx"), "certificate"),
        (lambda text: text.replace('entityID="', 'x="'), "no entity id"),
        (lambda text: text.replace("https://saml.alpha", "http://saml.alpha"), "neither https"),
        (lambda text: '<!DOCTYPE x [<!ENTITY e "e">]>' + text, "no XML"),
    ],
)
def test_metadata_that_will_not_do_is_refused(
    owner: Client, page: str, change: Callable[[str], str], sentence: str
) -> None:
    form = saml_form(metadata=change(SamlProvider().metadata))
    answer = owner.post(f"{page}/new?kind=saml", form)
    assert answer.status_code == 422
    assert sentence in text_of(answer)


def test_switching_off_removing_and_requiring(
    owner: Client, page: str, there: OpenIdProvider, organization_a: Organization
) -> None:
    assert owner.post(page, {"action": "require"}).status_code == 422
    row = make_oidc(organization_a, there)
    assert owner.post(page, {"action": "require"}).status_code == 302
    organization_a.refresh_from_db()
    assert organization_a.requires_sign_on
    owner.post(page, {"action": "off", "provider": row.pk})
    organization_a.refresh_from_db()
    assert (only_row().is_active, organization_a.requires_sign_on) == (False, False)
    owner.post(page, {"action": "remove", "provider": row.pk})
    with system_scope():
        assert not IdentityProvider.objects.exists()
        written = AuditEvent.objects.filter(action__startswith="sign_on.").order_by("pk")
        found = list(written.values_list("action", flat=True))
    assert found == [
        "sign_on.required",
        "sign_on.bypassed",  # Alice, who came in here
        "sign_on.switched_off",
        "sign_on.made_optional",
        "sign_on.removed",
    ]


def test_it_is_not_required_while_no_owner_has_a_password(
    owner: Client, page: str, alice: User, organization_a: Organization
) -> None:
    make_saml(organization_a, SamlProvider())
    alice.set_unusable_password()
    alice.save()
    client = Client()
    client.force_login(alice)
    answer = client.post(page, {"action": "require"})
    assert answer.status_code == 422
    assert "No owner has a password" in text_of(answer)


def test_a_provider_is_tested(
    owner: Client, page: str, there: OpenIdProvider, organization_a: Organization
) -> None:
    row = make_oidc(organization_a, there)
    ask = {"action": "test", "provider": row.pk}
    assert "answers" in text_of(owner.post(page, ask, follow=True))
    there.discovery = {"token_endpoint": f"{there.address}/moved"}
    assert "has changed its addresses" in text_of(owner.post(page, ask, follow=True))
    there.discovery = {"issuer": "https://evil.example"}
    assert "another issuer" in text_of(owner.post(page, ask, follow=True))
    old = make_saml(organization_a, SamlProvider(), name="Old")
    ask = {"action": "test", "provider": old.pk}
    assert "certificate holds until" in text_of(owner.post(page, ask, follow=True))


def test_the_provider_of_another_organization_is_not_found(
    owner: Client, page: str, organization_b: Organization
) -> None:
    theirs = make_saml(organization_b, SamlProvider())
    assert owner.get(f"{page}/{theirs.pk}").status_code == 404
    for action in ("off", "remove", "test"):
        answer = owner.post(page, {"action": action, "provider": theirs.pk})
        assert answer.status_code == 404
    assert only_row().is_active


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("https://sso.example.org/x", True),
        ("https://sso.example.org:443/x", True),
        ("https://sso.example.org:8443/x", False),
        ("http://sso.example.org/x", False),
        ("https://in.example:8443/", True),
        ("http://in.example/", True),
        ("http://one.example:81/", True),
        ("http://one.example:82/", False),
        ("https://user@in.example/", False),
        ("ftp://in.example/", False),
        ("https://", False),
        ("https://a b.example/", False),
        ("https://in.example:99999999/", False),
        ("http://in.example\\@10.0.0.1/", False),
        ("http://in.example.evil.example/", False),
        ("http://evil.example/in.example", False),
    ],
)
def test_which_addresses_a_provider_may_have(
    settings: LazySettings, address: str, may: bool
) -> None:
    settings.SSO_HOSTS = frozenset({"in.example", "one.example:81"})
    assert may_ask(address) is may


def test_a_listed_host_leads_nobody_on(settings: LazySettings) -> None:
    settings.SSO_HOSTS = frozenset({"127.0.0.1"})
    with site(reply(b"secret")) as inner, site(redirect(inner.url())) as outer:
        with pytest.raises(OSError):
            new_session().get(outer.url())
        assert not inner.asked


@pytest.mark.parametrize("value", ["https://sso.example", "a b", "host:port", "user@host", "host/"])
def test_hosts_that_are_none_stop_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_HOSTS", value)
    with pytest.raises(ImproperlyConfigured, match="SOME_HOSTS"):
        env.hosts("SOME_HOSTS")
    monkeypatch.setenv("SOME_HOSTS", " SSO.example , [::1]:8443,10.0.0.1 ")
    assert env.hosts("SOME_HOSTS") == {"sso.example", "[::1]:8443", "10.0.0.1"}
