"""Writing the audit log."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.actors import Actor
from accounts.models import AuditEvent

SYSTEM = "system"


def record_system(
    organization_id: str, action: str, object_id: str, details: Mapping[str, object] | None = None
) -> None:
    """Append one event that the machinery or an operator's command caused."""
    AuditEvent.objects.create(
        organization_id=organization_id,
        actor_id=SYSTEM,
        action=action,
        object_id=object_id,
        details=dict(details or {}),
    )


def record_event(
    actor: Actor, action: str, object_id: str, details: Mapping[str, object] | None = None
) -> None:
    """Append one event in the running transaction; `action` is `noun.past_participle`.

    `details` are codes, numbers and ids, never what somebody has written.
    """
    AuditEvent.objects.create(
        organization_id=actor.organization_id,
        actor_id=actor.user_id,
        token_id=actor.token_id,
        action=action,
        object_id=object_id,
        details=dict(details or {}),
        address=actor.address or None,
    )
