"""What an organization asks of those who enter: which way, how recently, and with what.

The upper half is pure. `check_session` is for sockets, `check_token` for API tokens, which have
nothing to do with the length of sessions; pages use `accounts.http.enforce`. Imported by the API's
framework while it loads, so it imports little itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY as METHODS_USER_KEY,
)
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY as METHODS_KEY
from allauth.core.internal.sessionkit import get_session_user
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

from accounts.models import IdentityProvider, Membership, Organization
from accounts.roles import Role
from accounts.second_factor import has_second_factor
from studio.core.errors import (
    SecondFactorRequiredError,
    SessionExpiredError,
    SignOnElsewhereError,
    SignOnEndedError,
    SignOnRequiredError,
    StudioError,
    UnauthenticatedError,
)
from studio.core.scoping import system_scope

HOUR = 3_600.0
SIGN_ON = "socialaccount"  # allauth's word for it in its notes


@dataclass(frozen=True, slots=True)
class Ways:
    """How a session came about: here, by identity providers, or both one after the other."""

    is_local: bool
    provider_ids: frozenset[str]


def ways_of(session: Mapping[str, Any], user_id: str) -> Ways:
    """By allauth's notes; without any it was here."""
    records = _records(session, user_id)
    providers = frozenset(str(r.get("provider")) for r in records if r["method"] == SIGN_ON)
    # A second factor follows a first one, and says nothing of where that was.
    here = [r for r in records if r["method"] != SIGN_ON]
    is_local = any(r["method"] != "mfa" or r.get("passwordless") for r in here)
    return Ways(is_local or not providers, providers)


def _records(session: Mapping[str, Any], user_id: str) -> list[Mapping[str, Any]]:
    if session.get(METHODS_USER_KEY) != user_id:
        return []
    records: Iterable[Mapping[str, Any]] = session.get(METHODS_KEY) or ()
    return [record for record in records if not record.get("reauthenticated")]


def reachable_organizations(session: Mapping[str, Any], user_id: str) -> frozenset[str] | None:
    """Those whose identity provider this session came by; None: all that the person is in."""
    ways = ways_of(session, user_id)
    if ways.is_local:
        return None
    return frozenset(row.organization_id for row in _providers(ways, user_id))


def _providers(ways: Ways, user_id: str) -> list[IdentityProvider]:
    """Those that brought the session and still may: switched on, and the person's to this day."""
    if not ways.provider_ids:
        return []
    theirs = SocialAccount.objects.filter(user_id=user_id, provider__in=ways.provider_ids)
    with system_scope():
        rows = IdentityProvider.objects.filter(
            pk__in=list(theirs.values_list("provider", flat=True)), is_active=True
        )
        return list(rows.defer("sealed_config"))


def signed_in_at(
    session: Mapping[str, Any], user_id: str, provider_ids: frozenset[str] = frozenset()
) -> float | None:
    """When this person signed in, by allauth's notes; None if that is not written there.

    Of sign-ons only those by `provider_ids` count. Having proved oneself once more within a session
    (`reauthenticated`) does not make it younger.
    """
    records = _records(session, user_id)
    times = [r["at"] for r in records if r["method"] != SIGN_ON or r["provider"] in provider_ids]
    return max(times, default=None)


def is_too_old(since: float | None, *, hours: int | None, now: float) -> bool:
    """Whether a session must end. One of unknown age is too old wherever there is a limit."""
    if hours is None:
        return False
    return since is None or now - since >= hours * HOUR


def session_breach(
    organization: Organization, session: Mapping[str, Any], user_id: str, *, now: float
) -> StudioError | None:
    """What keeps this session out of the organization; None when nothing does."""
    ways = ways_of(session, user_id)
    found = _providers(ways, user_id)
    through = [row for row in found if row.organization_id == organization.pk]
    if not through:
        breach = _way_breach(organization, ways, user_id, has_ended=not found)
        if breach is not None:
            return breach
    hours = organization.session_hours
    since = signed_in_at(session, user_id, frozenset(row.pk for row in through))
    if is_too_old(since, hours=hours, now=now):
        return SessionExpiredError(organization=organization.name, hours=hours)
    if any(row.covers_second_factor for row in through):
        return None
    return factor_breach(organization, user_id)


def _way_breach(
    organization: Organization, ways: Ways, user_id: str, *, has_ended: bool
) -> StudioError | None:
    """What is wrong with coming here by none of the organization's own identity providers."""
    if not ways.is_local:
        if has_ended:
            return SignOnEndedError()
        return SignOnElsewhereError(organization=organization.name)
    if not organization.requires_sign_on or is_owner(organization, user_id):
        return None
    provider = required_provider(organization, user_id)
    if provider is None:
        return None
    return SignOnRequiredError(
        organization=organization.name, provider=provider.name, provider_id=provider.pk
    )


def came_by_provider(organization: Organization, session: Mapping[str, Any], user_id: str) -> bool:
    """Whether one of the organization's identity providers, switched on, brought this session."""
    found = _providers(ways_of(session, user_id), user_id)
    return any(row.organization_id == organization.pk for row in found)


def required_provider(organization: Organization, user_id: str) -> IdentityProvider | None:
    """Where somebody is sent who came in otherwise: to one that knows them, or the first."""
    with system_scope():
        rows = IdentityProvider.objects.filter(organization=organization, is_active=True)
        found = list(rows.defer("sealed_config").order_by("pk"))
    theirs = SocialAccount.objects.filter(user_id=user_id, provider__in=[row.pk for row in found])
    known = set(theirs.values_list("provider", flat=True))
    return next((row for row in found if row.pk in known), found[0] if found else None)


def is_owner(organization: Organization, user_id: str) -> bool:
    """Owners keep a way in for the day when the identity provider does not answer."""
    owners = Membership.objects.filter(organization=organization, role=Role.OWNER.value)
    return owners.filter(user_id=user_id).exists()


def factor_breach(organization: Organization, user_id: str) -> StudioError | None:
    """The organization asks for a second factor, and this person has none."""
    if organization.requires_second_factor and not has_second_factor(user_id):
        return SecondFactorRequiredError(organization=organization.name)
    return None


def check_session(session: SessionBase, user_id: str, organization: Organization) -> None:
    """Whether the session of an open socket still is one, and may still be here.

    Raises:
        UnauthenticatedError: it was ended, or the password has changed.
        SessionExpiredError, SecondFactorRequiredError: the organization's rules.
    """
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session.session_key)
    user = get_session_user(store)
    if user is None or str(user.pk) != user_id:
        raise UnauthenticatedError
    breach = session_breach(organization, dict(store.items()), user_id, now=time.time())
    if breach is not None:
        raise breach


def check_token(organization: Organization, user_id: str, *, is_service: bool = False) -> None:
    """A personal token is worth no more than its person; a service's has none behind it.

    Raises:
        SecondFactorRequiredError: the organization asks for one and the person has none.
    """
    breach = None if is_service else factor_breach(organization, user_id)
    if breach is not None and not _is_covered(organization, user_id):
        raise breach


def _is_covered(organization: Organization, user_id: str) -> bool:
    """Whether the person comes by a provider there that stands for a second factor."""
    with system_scope():
        rows = IdentityProvider.objects.filter(
            organization=organization, is_active=True, covers_second_factor=True
        )
        covering = list(rows.values_list("pk", flat=True))
    if not covering:
        return False
    return bool(SocialAccount.objects.filter(user_id=user_id, provider__in=covering).exists())
