"""What happens to somebody's session and password, noted in the audit log.

Django and allauth say it by signals; who asks for a password in another way (a second factor, a
passkey, single sign-on) ends in the same ones.
"""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from accounts.addresses import client_address
from accounts.models import User
from accounts.services.audit import record_person


def connect() -> None:
    """Called once, when the app is ready."""
    user_logged_in.connect(_started, dispatch_uid="audit-session-started")
    user_logged_out.connect(_ended, dispatch_uid="audit-session-ended")
    user_login_failed.connect(_refused, dispatch_uid="audit-session-refused")
    for signal in (password_changed, password_set, password_reset):
        signal.connect(_password_changed, dispatch_uid="audit-password-changed")


def _started(sender: object, request: HttpRequest, user: User, **_rest: Any) -> None:  # noqa: ANN401  # Django's signature
    record_person(user.pk, "session.started", address=client_address(request))


def _ended(sender: object, request: HttpRequest, user: User | None, **_rest: Any) -> None:  # noqa: ANN401  # Django's signature
    if user is not None:
        record_person(user.pk, "session.ended", address=client_address(request))


def _refused(
    sender: object,
    credentials: dict[str, Any],
    request: HttpRequest | None = None,
    **_rest: Any,  # noqa: ANN401  # Django's signature
) -> None:
    """Only where it was an account's address; what was typed is not kept."""
    email = credentials.get("email") or credentials.get("username")
    user = User.objects.filter(email=str(email).lower()).only("pk").first() if email else None
    if user is not None:
        address = client_address(request) if request is not None else ""
        record_person(user.pk, "session.refused", address=address, is_theirs=False)


def _password_changed(sender: object, request: HttpRequest, user: User, **_rest: Any) -> None:  # noqa: ANN401  # Django's signature
    record_person(user.pk, "password.changed", address=client_address(request))
