"""Writing the audit log."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from accounts.actors import Actor
from accounts.models import AuditEvent
from accounts.selectors import organizations_of
from studio.core.scoping import organization_scope

SYSTEM = "system"
NOBODY = "nobody"


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

    `details` are codes, numbers and ids, never what somebody has written. `workspace` among them
    says where it was, for the log's filter; a page's actor knows it by itself.
    """
    where = {"workspace": actor.workspace_id} if actor.workspace_id else {}
    AuditEvent.objects.create(
        organization_id=actor.organization_id,
        actor_id=actor.user_id,
        token_id=actor.token_id,
        action=action,
        object_id=object_id,
        details={**where, **(details or {})},
        address=actor.address or None,
    )


@transaction.atomic
def record_person(user_id: str, action: str, *, address: str = "", by: str = "") -> None:
    """Append an event of somebody's account in each organization that they belong to.

    They did it themselves, unless it was `by` the system or by who knows whom.
    """
    for organization_id in organizations_of(user_id):
        with organization_scope(organization_id):
            AuditEvent.objects.create(
                organization_id=organization_id,
                actor_id=by or user_id,
                action=action,
                object_id=user_id,
                address=address or None,
            )
