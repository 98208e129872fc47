"""What people change about the guards of their account, in the audit log of their organizations."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed, password_reset
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.db import transaction
from django.dispatch import Signal

from accounts.models import User
from accounts.selectors import find_actor, organizations_of
from accounts.services.audit import record_event
from studio.core.scoping import organization_scope

_NOUNS = {
    Authenticator.Type.TOTP: "authenticator_app",
    Authenticator.Type.WEBAUTHN: "passkey",
    Authenticator.Type.RECOVERY_CODES: "recovery_codes",
}
_PASSWORD: tuple[tuple[Signal, str], ...] = (
    (password_changed, "password.changed"),
    (password_reset, "password.reset"),
)
_FACTORS: tuple[tuple[Signal, str], ...] = (
    (authenticator_added, "added"),
    (authenticator_removed, "removed"),
    (authenticator_reset, "renewed"),
)


@transaction.atomic
def record_everywhere(user_id: str, action: str) -> None:
    """One event in each organization that the person is a member of."""
    for organization_id in organizations_of(user_id):
        actor = find_actor(user_id, organization_id)
        if actor is not None:
            with organization_scope(organization_id):
                record_event(actor, action, user_id)


def listen() -> None:
    """Hear of it from allauth; called once, when the app is ready."""
    for signal, action in _PASSWORD:
        signal.connect(_on_password(action), weak=False, dispatch_uid=action)
    for signal, verb in _FACTORS:
        signal.connect(_on_factor(verb), weak=False, dispatch_uid=f"factor.{verb}")


def _on_password(action: str) -> Any:  # noqa: ANN401  # a receiver, as Django has them
    def receive(user: User, **_: object) -> None:
        record_everywhere(user.pk, action)

    return receive


def _on_factor(verb: str) -> Any:  # noqa: ANN401  # same
    def receive(user: User, authenticator: Authenticator, **_: object) -> None:
        record_everywhere(user.pk, f"{_NOUNS[authenticator.type]}.{verb}")

    return receive
