"""Beginning an export of an organization. Who has it has everything: owners alone, and audited."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Organization
from accounts.roles import Permission
from accounts.selectors import find_actor
from accounts.services.audit import record_event, record_system
from accounts.services.tokens import is_live
from jobs.export.archive import Archive, gather
from jobs.export.contents import Guard, write_export
from studio.core.errors import ForbiddenError

CHECK_SECONDS = 60.0


@transaction.atomic
def begin_export(*, actor: Actor) -> Iterator[bytes]:
    """The ZIP of the actor's organization, piece by piece, each taken in the organization's scope.

    Raises:
        ForbiddenError: the actor may not, or is a token for certain workspaces only; also later,
            between pieces, once they no longer may.
    """
    actor.require(Permission.ORGANIZATION_EXPORT)
    organization = Organization.objects.get(pk=actor.organization_id)
    record_event(actor, "organization.exported", organization.pk)
    return gather(write_export(Archive(), organization, _guard(actor)))


@transaction.atomic
def begin_operators_export(archive: Archive, organization: Organization) -> Iterator[bytes]:
    """The same for who runs the installation, who may do anything."""
    record_system(organization.pk, "organization.exported", organization.pk)
    return gather(write_export(archive, organization, lambda: None))


def _guard(actor: Actor) -> Guard:
    """An export may run for hours: once a minute it is asked whether the actor still may."""
    checked_at = time.monotonic()

    def check() -> None:
        nonlocal checked_at
        if time.monotonic() - checked_at < CHECK_SECONDS:
            return
        checked_at = time.monotonic()
        now = find_actor(actor.user_id, actor.organization_id)
        token = ApiToken.objects.filter(pk=actor.token_id).first()
        is_over = bool(actor.token_id) and (token is None or not is_live(token, timezone.now()))
        if now is None or is_over or not now.can(Permission.ORGANIZATION_EXPORT):
            raise ForbiddenError(permission=Permission.ORGANIZATION_EXPORT.value)

    return check
