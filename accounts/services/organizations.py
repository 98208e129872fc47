"""Making an organization, and changing its name and the rules for signing in."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from accounts.actors import Actor
from accounts.models import Membership, Organization
from accounts.names import name_problems
from accounts.roles import Permission, Role
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope

NAME_MAX = 120
SESSION_HOURS_MAX = 24 * 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an organization asks of its members when they sign in."""

    requires_second_factor: bool = False
    session_hours: int | None = None


def may_create_organization(user_id: str) -> bool:
    """Owners and admins of some organization may found another."""
    leading = [Role.OWNER.value, Role.ADMIN.value]
    return Membership.objects.filter(
        user_id=user_id, role__in=leading, user__is_active=True, user__is_service=False
    ).exists()


@transaction.atomic
def create_organization(*, user_id: str, name: str, address: str = "") -> Organization:
    """A new organization, whose owner the user is.

    Raises:
        ForbiddenError: the user leads no organization.
        InvalidInputError: the name is empty or too long.
    """
    if not may_create_organization(user_id):
        raise ForbiddenError(permission=Permission.ORGANIZATION_MANAGE.value)
    organization = Organization.objects.create(name=checked_name(name))
    Membership.objects.create(user_id=user_id, organization=organization, role=Role.OWNER.value)
    owner = Actor.of(user_id, organization.pk, Role.OWNER, address=address)
    with organization_scope(organization.pk):
        record_event(owner, "organization.created", organization.pk)
    return organization


@transaction.atomic
def change_organization(
    *, actor: Actor, organization: Organization, name: str, rules: Rules
) -> bool:
    """Set the name and the rules; False if they were so already.

    Raises:
        InvalidInputError: the name or the length of a session cannot be.
    """
    actor.require(Permission.ORGANIZATION_MANAGE)
    name = checked_name(name)
    _check_hours(rules.session_hours)
    wanted = {
        "name": name,
        "requires_second_factor": rules.requires_second_factor,
        "session_hours": rules.session_hours,
    }
    changed = {key for key, value in wanted.items() if getattr(organization, key) != value}
    if not changed:
        return False
    for key in changed:
        setattr(organization, key, wanted[key])
    organization.save(update_fields=sorted(changed))
    codes = {key: wanted[key] for key in changed if key != "name"}
    record_event(actor, "organization.changed", organization.pk, codes)
    return True


def checked_name(name: str) -> str:
    """The name as it is stored.

    Raises:
        InvalidInputError: it is empty, too long, or holds what cannot be seen.
    """
    name = name.strip()
    if problems := name_problems(name, NAME_MAX):
        raise InvalidInputError(problems)
    return name


def _check_hours(hours: int | None) -> None:
    if hours is None or 1 <= hours <= SESSION_HOURS_MAX:
        return
    message = f"A session can last 1 to {SESSION_HOURS_MAX} hours, not {hours}."
    problem = FieldProblem(
        field="session_hours",
        code="range",
        message=message,
        value=hours,
        limit=[1, SESSION_HOURS_MAX],
    )
    raise InvalidInputError([problem])
