"""Reads that decide who somebody is, before any scope exists."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.models import ApiToken, Membership
from accounts.roles import Permission, Permissions, Role


def find_actor(user_id: str, organization_id: str, *, address: str = "") -> Actor | None:
    """The user as a member of the organization; None if they are not one."""
    membership = (
        Membership.objects.filter(
            user_id=user_id, organization_id=organization_id, user__is_active=True
        )
        .select_related("user")
        .only("role", "user__is_operator")
        .first()
    )
    if membership is None:
        return None
    return Actor.of(
        user_id,
        organization_id,
        Role(membership.role),
        address=address,
        is_operator=membership.user.is_operator,
    )


def actor_of_token(token: ApiToken, *, address: str = "") -> Actor | None:
    """Whom a live token acts as; None if its user has left."""
    member = find_actor(token.user_id, token.organization_id, address=address)
    return member and member.through_token(
        token.pk,
        scopes=known_scopes(token.scopes),
        workspace_ids=frozenset(token.workspace_ids),
        requests_per_minute=token.requests_per_minute,
    )


def known_scopes(names: list[str] | None) -> Permissions | None:
    """The permissions that a token is limited to; names of another release count for nothing."""
    return None if names is None else frozenset(p for p in Permission if p.value in names)


def organizations_of(user_id: str, *, among: frozenset[str] | None = None) -> list[str]:
    """Ids of the organizations the user belongs to (`among` these), oldest membership first."""
    memberships = Membership.objects.filter(user_id=user_id).order_by("created_at")
    if among is not None:
        memberships = memberships.filter(organization_id__in=among)
    return list(memberships.values_list("organization_id", flat=True))


def active_members(organization_id: str) -> list[Membership]:
    """Members who can sign in or act through a token, with their users, by name."""
    members = Membership.objects.filter(
        organization_id=organization_id, user__is_active=True
    ).select_related("user")
    return sorted(members, key=lambda m: m.user.shown_name.casefold())
