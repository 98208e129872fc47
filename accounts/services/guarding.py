"""What happens at the door of an account, in the audit log of its person's organizations.

Django and allauth tell of it by signals: sessions begun, ended and refused, passwords, second
factors. Whatever else lets somebody in (a passkey, single sign-on) ends in the same ones.
"""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from allauth.usersessions.internal.flows.sessions import end_other_sessions
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import Signal
from django.http import HttpRequest

from accounts.addresses import client_address
from accounts.models import User
from accounts.second_factor import FACTORS
from accounts.services.audit import NOBODY, record_person

Type = Authenticator.Type


def listen() -> None:
    """Hear of it; called once, when the app is ready."""
    user_login_failed.connect(_refused, dispatch_uid="audit-session-refused")
    _note(user_logged_in, action="session.started")
    _note(user_logged_out, action="session.ended")
    _note(password_changed, action="password.changed")
    _note(password_set, action="password.set")
    _note(password_reset, action="password.reset")
    _note(authenticator_added, Type.TOTP, action="authenticator_app.added")
    _note(authenticator_removed, Type.TOTP, action="authenticator_app.removed")
    _note(authenticator_added, Type.WEBAUTHN, action="passkey.added")
    _note(authenticator_removed, Type.WEBAUTHN, action="passkey.removed")
    _note(authenticator_added, Type.RECOVERY_CODES, action="recovery_codes.added")
    _note(authenticator_removed, Type.RECOVERY_CODES, action="recovery_codes.removed")
    _note(authenticator_reset, Type.RECOVERY_CODES, action="recovery_codes.renewed")
    authenticator_added.connect(_end_weaker_sessions, dispatch_uid="end-weaker-sessions")


def _note(signal: Signal, factor: Authenticator.Type | None = None, *, action: str) -> None:
    """Write the action whenever the signal comes, and is of this kind of factor."""

    def receive(
        user: User | None,
        request: HttpRequest | None = None,
        authenticator: Authenticator | None = None,
        **_: object,
    ) -> None:
        is_meant = factor is None or (authenticator is not None and authenticator.type == factor)
        if user is not None and is_meant:
            record_person(user.pk, action, address=_address(request))

    signal.connect(receive, weak=False, dispatch_uid=f"audit-{action}")


def _end_weaker_sessions(
    user: User, request: HttpRequest, authenticator: Authenticator, **_: object
) -> None:
    """The first second factor ends the person's other sessions: a password alone opened them."""
    factors = Authenticator.objects.filter(user=user, type__in=FACTORS)
    if authenticator.type in FACTORS and not factors.exclude(pk=authenticator.pk).exists():
        end_other_sessions(request, user)


def _refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: object) -> None:
    """Only where it was an account's address; what was typed is not kept."""
    email = credentials.get("email") or credentials.get("username")
    user = User.objects.filter(email=str(email).lower()).only("pk").first() if email else None
    if user is not None:
        record_person(user.pk, "session.refused", address=_address(request), by=NOBODY)


def _address(request: HttpRequest | None) -> str:
    return client_address(request) if request is not None else ""
