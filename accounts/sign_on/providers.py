"""What is configured: identity providers as they lie in the database, opened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.urls import reverse

from accounts.models import IdentityProvider, IdentityProviderKind
from accounts.roles import Role
from accounts.services.organization_keys import open_for, seal_for
from studio.core.errors import NotFoundError
from studio.core.scoping import system_scope

CONFIG = "sign_on_config"
SUBJECT_MAX = 191  # what allauth's table holds
EMAIL_MAX = 254
NAME_MAX = 120
# Owners are made by owners, and keep a way in past the provider: no provider makes one.
GIVEN = tuple(role for role in Role if role is not Role.OWNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfig:
    """An OpenID provider: what was typed, and what its discovery document said."""

    issuer: str
    client_id: str
    client_secret: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    jwks_uri: str = ""
    userinfo_endpoint: str = ""
    uses_basic_auth: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SamlConfig:
    """A SAML identity provider, from its metadata; certificates are base64 without their frame."""

    entity_id: str
    sso_url: str
    certificates: tuple[str, ...]


Config = OidcConfig | SamlConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a provider says of a person, after it was proved to be the provider who says it.

    `values` are those of the role claim that make a role here, one for each role.
    """

    subject: str
    email: str = ""
    name: str = ""
    values: tuple[str, ...] = ()


def seal_config(row: IdentityProvider, config: Config) -> None:
    """Put the config into the row, sealed; the caller saves it."""
    plaintext = json.dumps(asdict(config)).encode()
    row.sealed_config = seal_for(row.organization, plaintext, kind=CONFIG, object_id=row.pk)


def open_config(row: IdentityProvider) -> Config:
    """The config of the row.

    Raises:
        SealBrokenError: the organization's key is another one.
    """
    sealed = row.sealed_config
    fields = json.loads(open_for(row.organization, sealed, kind=CONFIG, object_id=row.pk))
    if row.kind == IdentityProviderKind.OIDC.value:
        return OidcConfig(**fields)
    return SamlConfig(**{**fields, "certificates": tuple(fields["certificates"])})


def find_provider(provider_id: str) -> IdentityProvider:
    """An active provider with its organization, before any scope is open.

    Raises:
        NotFoundError: there is none, or it is switched off; the two cannot be told apart.
    """
    row = None
    # PostgreSQL takes no NUL, and addresses may hold one.
    if provider_id.replace("_", "").isalnum():
        with system_scope():
            rows = IdentityProvider.objects.select_related("organization")
            row = rows.filter(pk=provider_id, is_active=True).first()
    if row is None:
        raise NotFoundError(noun="single sign-on")
    return row


def address_of(route: str, provider_id: str) -> str:
    """A page of a provider at the studio's own address, whatever host the request named."""
    return settings.STUDIO_URL.rstrip("/") + reverse(route, args=[provider_id])


def wanted_role(row: IdentityProvider, values: Iterable[str], present: Role | None) -> Role | None:
    """What the provider makes of somebody: the highest of the matching roles.

    Without a mapping roles are given here, and the default is for newcomers only. None: nobody.
    """
    mapping: Mapping[str, str] = row.role_mapping
    default = next((role for role in GIVEN if role.value == row.default_role), None)
    if not mapping:
        return present or default
    given = {mapping[value] for value in values if value in mapping}
    return next((role for role in GIVEN if role.value in given), default)


def make_claims(
    row: IdentityProvider, *, subject: str, email: str, name: str, values: Iterable[str]
) -> Claims:
    """Of what was said no more than is used: somebody may be in hundreds of groups."""
    telling = {row.role_mapping[value]: value for value in values if value in row.role_mapping}
    return Claims(
        subject=subject,
        email=email.strip()[: EMAIL_MAX + 1],  # too long a one stays too long
        name=name.strip()[:NAME_MAX],
        values=tuple(telling.values()),
    )


def claim_values(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A claim as texts; `realm_access.roles` also means `roles` within `realm_access`."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    items = found if isinstance(found, list) else [found]
    return tuple(str(item) for item in items if isinstance(item, str | int) and item is not True)
