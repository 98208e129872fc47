"""Setting up single sign-on. Owners alone: who sets it could sign in as anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from allauth.socialaccount.models import SocialAccount
from django.db import transaction

from accounts.actors import Actor
from accounts.models import IdentityProvider, IdentityProviderKind, Membership, Organization
from accounts.roles import Permission, Role
from accounts.services.audit import record_event
from accounts.sign_on.providers import (
    GIVEN,
    Config,
    OidcConfig,
    SamlConfig,
    open_config,
    seal_config,
)
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError, NotFoundError

PROVIDERS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a provider's word means here: names, roles, second factor."""

    name: str
    role_claim: str = ""
    role_mapping: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = None
    covers_second_factor: bool = True


def providers_of(actor: Actor) -> list[IdentityProvider]:
    """The organization's providers, oldest first."""
    actor.require(Permission.SIGN_ON_MANAGE)
    return list(IdentityProvider.objects.select_related("organization").order_by("pk"))


def get_provider(actor: Actor, provider_id: str) -> IdentityProvider:
    """One of them.

    Raises:
        NotFoundError: it is not the organization's.
    """
    actor.require(Permission.SIGN_ON_MANAGE)
    rows = IdentityProvider.objects.select_related("organization")
    row = rows.filter(pk=provider_id).first()
    if row is None:
        raise NotFoundError(noun="single sign-on")
    return row


def people_of(row: IdentityProvider) -> int:
    """How many people have come by this provider."""
    return int(SocialAccount.objects.filter(provider=row.pk).count())


@transaction.atomic
def add_provider(
    *, actor: Actor, organization: Organization, config: Config, terms: Terms
) -> IdentityProvider:
    """A new provider, switched on."""
    actor.require(Permission.SIGN_ON_MANAGE)
    if IdentityProvider.objects.count() >= PROVIDERS_MAX:
        raise _problem("name", "too_many", f"There are {PROVIDERS_MAX} already. Remove one first.")
    kind = (
        IdentityProviderKind.OIDC if isinstance(config, OidcConfig) else IdentityProviderKind.SAML
    )
    row = IdentityProvider(organization=organization, kind=kind.value)
    _set(row, config, terms)
    row.save(force_insert=True)
    record_event(actor, "sign_on.added", row.pk, {"kind": kind.value})
    return row


@transaction.atomic
def change_provider(*, actor: Actor, row: IdentityProvider, config: Config, terms: Terms) -> None:
    """Set all of it anew. Another issuer knows other people: who was connected is forgotten."""
    actor.require(Permission.SIGN_ON_MANAGE)
    forgotten = 0
    if _identity(open_config(row)) != _identity(config):
        forgotten, _rows = SocialAccount.objects.filter(provider=row.pk).delete()
    _set(row, config, terms)
    row.save()
    record_event(actor, "sign_on.changed", row.pk, {"forgotten": forgotten})


@transaction.atomic
def switch_provider(*, actor: Actor, row: IdentityProvider, is_active: bool) -> None:
    """Off: nobody comes by it, and sessions that did end. With the last one goes the demand."""
    actor.require(Permission.SIGN_ON_MANAGE)
    if row.is_active == is_active:
        return
    row.is_active = is_active
    row.save(update_fields=["is_active"])
    action = "sign_on.switched_on" if is_active else "sign_on.switched_off"
    record_event(actor, action, row.pk)
    _drop_demand(actor, row.organization)


@transaction.atomic
def remove_provider(*, actor: Actor, row: IdentityProvider) -> None:
    """Forget it and who came by it. They stay members until somebody removes them."""
    actor.require(Permission.SIGN_ON_MANAGE)
    provider_id = row.pk
    SocialAccount.objects.filter(provider=provider_id).delete()
    row.delete()
    record_event(actor, "sign_on.removed", provider_id)
    _drop_demand(actor, row.organization)


@transaction.atomic
def require_sign_on(*, actor: Actor, organization: Organization, is_required: bool) -> None:
    """Whether members come in by single sign-on alone; owners keep their password.

    Raises:
        InvalidInputError: there would be no way in, or none for the day when the provider is away.
    """
    actor.require(Permission.SIGN_ON_MANAGE)
    if organization.requires_sign_on == is_required:
        return
    if is_required and not IdentityProvider.objects.filter(is_active=True).exists():
        raise _problem("is_required", "no_provider", "Add a provider first, and try it.")
    if is_required and not _owner_has_password(organization):
        message = (
            "No owner has a password. One must, for the day when the provider does not answer."
        )
        raise _problem("is_required", "no_way_in", message)
    organization.requires_sign_on = is_required
    organization.save(update_fields=["requires_sign_on"])
    action = "sign_on.required" if is_required else "sign_on.made_optional"
    record_event(actor, action, organization.pk)


def _owner_has_password(organization: Organization) -> bool:
    owners = Membership.objects.filter(
        organization=organization, role=Role.OWNER.value, user__is_active=True
    ).select_related("user")
    return any(owner.user.has_usable_password() for owner in owners)


def _drop_demand(actor: Actor, organization: Organization) -> None:
    if not IdentityProvider.objects.filter(is_active=True).exists():
        require_sign_on(actor=actor, organization=organization, is_required=False)


def _set(row: IdentityProvider, config: Config, terms: Terms) -> None:
    if not {*terms.role_mapping.values(), terms.default_role} <= {*GIVEN, None}:
        raise _problem("role_claim", "owner", "Owners are made by owners, on the members' page.")
    row.name = terms.name
    row.role_claim = terms.role_claim
    row.role_mapping = {value: role.value for value, role in terms.role_mapping.items()}
    row.default_role = terms.default_role.value if terms.default_role else ""
    row.covers_second_factor = terms.covers_second_factor
    seal_config(row, config)


def _identity(config: Config) -> str:
    """Whose word it is, and for which client a subject is named: both make another person of it."""
    if isinstance(config, SamlConfig):
        return config.entity_id
    return f"{config.issuer} {config.client_id}"


def _problem(name: str, code: str, message: str) -> InvalidInputError:
    problem = FieldProblem(field=name, code=code, message=message, value=None, limit=None)
    return InvalidInputError([problem])
