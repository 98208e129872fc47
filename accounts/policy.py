"""What an organization asks of those who enter: how recently signed in, and with what.

The upper half is pure. `check_session` is for sockets, `check_token` for API tokens, which have
nothing to do with the length of sessions; pages use `accounts.http.enforce`. Imported by the API's
framework while it loads, so it imports little itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY as METHODS_USER_KEY,
)
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY as METHODS_KEY
from allauth.core.internal.sessionkit import get_session_user
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase

from accounts.models import Organization
from accounts.second_factor import has_second_factor
from studio.core.errors import (
    SecondFactorRequiredError,
    SessionExpiredError,
    StudioError,
    UnauthenticatedError,
)

HOUR = 3_600.0


def signed_in_at(session: Mapping[str, Any], user_id: str) -> float | None:
    """When this person signed in, by allauth's notes; None if that is not written there.

    Having proved oneself once more within a session (`reauthenticated`) does not make it younger.
    """
    if session.get(METHODS_USER_KEY) != user_id:
        return None
    records: Iterable[Mapping[str, Any]] = session.get(METHODS_KEY) or ()
    times = [record["at"] for record in records if not record.get("reauthenticated")]
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
    hours = organization.session_hours
    if is_too_old(signed_in_at(session, user_id), hours=hours, now=now):
        return SessionExpiredError(organization=organization.name, hours=hours)
    return factor_breach(organization, user_id)


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
    if breach is not None:
        raise breach
