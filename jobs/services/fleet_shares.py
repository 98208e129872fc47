"""Parts of the fleet: how much an organization weighs, and how many jobs it may have at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from accounts.actors import Actor
from accounts.models import Organization
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from jobs.models import OrganizationShare
from jobs.services.fleet_policy import WEIGHT_MAX, WEIGHT_MIN, touch_policy
from studio.core.errors import InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope, system_scope

JOBS_MAX = 10_000
_LIMITS = ("jobs_at_once", "jobs_at_once_per_member")


@transaction.atomic
def set_share(*, actor: Actor, organization_id: str, given: Mapping[str, Any]) -> OrganizationShare:
    """Set `weight`, `jobs_at_once`, `jobs_at_once_per_member`; null lifts a limit.

    What is left out stays.

    Raises:
        NotFoundError: there is no such organization.
        InvalidInputError: every wrong field is named; nothing was changed.
    """
    actor.require(Permission.FLEET_MANAGE)
    if not Organization.objects.filter(pk=organization_id).exists():
        raise NotFoundError(noun="organization")
    problems = [problem for name, value in given.items() for problem in _check(name, value)]
    if problems:
        raise InvalidInputError(problems)
    with system_scope():
        share, _made = OrganizationShare.objects.update_or_create(
            organization_id=organization_id, defaults=dict(given)
        )
    touch_policy()
    with organization_scope(actor.organization_id):
        record_event(actor, "fleet_share.changed", organization_id, dict(given))
    return share


def share_of(organization_id: str) -> OrganizationShare:
    """What is set for the organization; the defaults if nothing is.

    Raises:
        NotFoundError: there is no such organization.
    """
    if not Organization.objects.filter(pk=organization_id).exists():
        raise NotFoundError(noun="organization")
    with system_scope():
        found = OrganizationShare.objects.filter(organization_id=organization_id).first()
    return found or OrganizationShare(organization_id=organization_id)


def all_shares() -> list[tuple[Organization, OrganizationShare]]:
    """Every organization of the installation with what is set for it, by name."""
    with system_scope():
        known = {share.organization_id: share for share in OrganizationShare.objects.all()}
    organizations = sorted(Organization.objects.all(), key=lambda each: each.name.casefold())
    return [
        (each, known.get(each.pk) or OrganizationShare(organization_id=each.pk))
        for each in organizations
    ]


def _check(name: str, value: object) -> list[FieldProblem]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "weight":
        message = f"The weight must be a number from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}."
        is_good = is_number and WEIGHT_MIN <= value <= WEIGHT_MAX  # type: ignore[operator]  # a number
    elif name in _LIMITS:
        message = f"The limit must be a whole number from 1 to {JOBS_MAX:,}, or nothing."
        is_good = value is None or (isinstance(value, int) and is_number and 1 <= value <= JOBS_MAX)
    else:
        return [FieldProblem(field=name, code="unknown", message=f"There is no field {name!r}.")]
    if is_good:
        return []
    return [FieldProblem(field=name, code="out_of_range", message=message, value=str(value)[:40])]
