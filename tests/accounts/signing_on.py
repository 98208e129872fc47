"""What people do to come in by single sign-on, as HTTP requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.test import Client

from accounts.models import IdentityProvider, IdentityProviderKind, Organization
from accounts.sign_on.oidc import discover
from accounts.sign_on.providers import Config, OidcConfig, seal_config
from accounts.sign_on.saml import parse_metadata
from studio.core.scoping import organization_scope
from tests.accounts.identity_providers import (
    CLIENT_ID,
    CLIENT_SECRET,
    OpenIdProvider,
    SamlProvider,
)
from tests.answers import Answer


def make_provider(organization: Organization, config: Config, **fields: Any) -> IdentityProvider:  # noqa: ANN401  # columns
    """A provider's row."""
    is_oidc = isinstance(config, OidcConfig)
    kind = IdentityProviderKind.OIDC if is_oidc else IdentityProviderKind.SAML
    values = {"name": "Company accounts", "default_role": "artist", **fields}
    row = IdentityProvider(organization=organization, kind=kind.value, **values)
    seal_config(row, config)
    with organization_scope(organization.pk):
        row.save(force_insert=True)
    return row


def make_oidc(organization: Organization, there: OpenIdProvider, **fields: Any) -> IdentityProvider:  # noqa: ANN401  # columns
    config = OidcConfig(issuer=there.address, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    return make_provider(organization, discover(config), **fields)


def make_saml(organization: Organization, there: SamlProvider, **fields: Any) -> IdentityProvider:  # noqa: ANN401  # columns
    return make_provider(organization, parse_metadata(there.metadata), **fields)


def set_off(client: Client, row: IdentityProvider, next_path: str = "") -> str:
    """To the provider: the address that the browser is led to."""
    data = {"next": next_path} if next_path else {}
    answer = client.get(f"/sso/{row.pk}/", data)
    assert answer.status_code == 302, answer.content
    return answer["Location"]


def path_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def come_by_oidc(
    client: Client, row: IdentityProvider, there: OpenIdProvider, next_path: str = ""
) -> Answer:
    """There and back; what the studio answers then."""
    back = there.approve(set_off(client, row, next_path))
    return client.get(path_of(back))


def post_answer(client: Client, row: IdentityProvider, answer: str) -> Answer:
    """The form that the SAML provider's page sends: from another site, so without our session."""
    outside = Client()
    posted = outside.post(f"/sso/{row.pk}/acs", {"SAMLResponse": answer})
    if posted.status_code != 302:
        return posted
    assert posted["Location"] == f"/sso/{row.pk}/finish"
    client.cookies["sign_on_ticket"] = posted.cookies["sign_on_ticket"].value
    return client.get(f"/sso/{row.pk}/finish")


def come_by_saml(
    client: Client, row: IdentityProvider, there: SamlProvider, next_path: str = ""
) -> Answer:
    """There and back; what the studio answers then."""
    return post_answer(client, row, there.answer(set_off(client, row, next_path)))


def enters(client: Client, organization: Organization) -> int:
    """What the organization's own page answers."""
    return client.get(f"/o/{organization.pk}/sign-on").status_code
