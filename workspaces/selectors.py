"""Reads of workspaces."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import Membership, TeamMember, User
from accounts.roles import (
    GRANTED,
    IN_WORKSPACE,
    REACH_ALL,
    ROLE_PERMISSIONS,
    Permission,
    Permissions,
    Role,
    WorkspaceRole,
)
from accounts.selectors import active_members, find_actor, organizations_of
from studio.core.scoping import organization_scope, system_scope
from workspaces.access import visible_workspaces
from workspaces.models import Workspace, WorkspaceGrant


def organization_of(workspace_id: str) -> str | None:
    """Whose workspace an id in a URL names, before any scope is open; membership comes next."""
    with system_scope():
        return (
            Workspace.objects.filter(pk=workspace_id)
            .values_list("organization_id", flat=True)
            .first()
        )


def workspaces_of(user_id: str, *, among: frozenset[str] | None = None) -> list[Workspace]:
    """Workspaces that the person can look into, in all of their organizations; oldest first.

    `among` are the organizations that the session may enter, if not all.
    """
    found: list[Workspace] = []
    for organization_id in organizations_of(user_id, among=among):
        actor = find_actor(user_id, organization_id)
        if actor is not None:
            with organization_scope(organization_id):
                found.extend(visible_workspaces(actor).select_related("organization"))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Somebody who gets into a workspace: as what, and what lets them in."""

    user: User
    role: Role
    by_role: bool
    grants: tuple[WorkspaceGrant, ...]
    rights: Permissions


def who_reaches(workspace: Workspace) -> list[Reach]:
    """Every active member who can look into the workspace, by name."""
    grants = list(workspace.grants.select_related("team", "membership__user"))
    teams: dict[int, set[str]] = {}
    members = TeamMember.objects.filter(team_id__in=[g.team_id for g in grants if g.team_id])
    for membership_id, team_id in members.values_list("membership_id", "team_id"):
        teams.setdefault(membership_id, set()).add(team_id)
    found = (
        _reach(workspace, membership, grants, teams.get(membership.pk, set()))
        for membership in active_members(workspace.organization_id)
    )
    return [reach for reach in found if Permission.OUTPUT_VIEW in reach.rights]


def _reach(
    workspace: Workspace, member: Membership, grants: list[WorkspaceGrant], teams: set[str]
) -> Reach:
    role = Role(member.role)
    is_in = role in REACH_ALL or not workspace.is_restricted
    mine = tuple(g for g in grants if g.membership_id == member.pk or g.team_id in teams)
    rights = ROLE_PERMISSIONS[role] if is_in else ROLE_PERMISSIONS[role] - IN_WORKSPACE
    if role not in REACH_ALL:
        rights = rights.union(*(GRANTED[WorkspaceRole(grant.role)] for grant in mine))
    by_role = is_in and Permission.OUTPUT_VIEW in ROLE_PERMISSIONS[role]
    return Reach(user=member.user, role=role, by_role=by_role, grants=mine, rights=rights)
