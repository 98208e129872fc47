"""Reads that decide who somebody is, before any scope exists."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.models import Membership
from accounts.roles import Role


def find_actor(user_id: str, organization_id: str, *, token_id: str = "") -> Actor | None:
    """The user as a member of the organization; None if they are not one."""
    membership = (
        Membership.objects.filter(
            user_id=user_id, organization_id=organization_id, user__is_active=True
        )
        .only("role")
        .first()
    )
    if membership is None:
        return None
    return Actor(
        user_id=user_id,
        organization_id=organization_id,
        role=Role(membership.role),
        token_id=token_id,
    )


def organizations_of(user_id: str) -> list[str]:
    """Ids of the organizations the user belongs to, oldest membership first."""
    memberships = Membership.objects.filter(user_id=user_id).order_by("created_at")
    return list(memberships.values_list("organization_id", flat=True))


def member_names(organization_id: str, *, roles: frozenset[Role]) -> list[str]:
    """Names (or addresses) of active members with one of the roles."""
    members = Membership.objects.filter(
        organization_id=organization_id, role__in=roles, user__is_active=True
    ).select_related("user")
    return sorted(m.user.name or m.user.email for m in members)
