"""Reads of workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, Sum
from django.utils import timezone

from accounts.models import Membership, Organization, Team, TeamMember, User
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
from workspaces.models import Artifact, Workspace, WorkspaceGrant


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
class Rooms:
    """What a person finds of one of their organizations: workspaces, oldest first."""

    organization: Organization
    workspaces: tuple[Workspace, ...]
    can_manage: bool


def rooms_of(user_id: str, *, among: frozenset[str] | None = None) -> list[Rooms]:
    """All that the person can go to, organization by organization (`among` these)."""
    found = []
    mine = organizations_of(user_id, among=among)
    for organization in Organization.objects.in_bulk(mine).values():
        actor = find_actor(user_id, organization.pk)
        if actor is not None:
            with organization_scope(organization.pk):
                rooms = tuple(visible_workspaces(actor))
            can_manage = actor.can(Permission.WORKSPACE_CREATE)
            found.append(Rooms(organization=organization, workspaces=rooms, can_manage=can_manage))
    return sorted(found, key=lambda rooms: rooms.organization.name.casefold())


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
    by_member: dict[int, list[WorkspaceGrant]] = {}
    by_team: dict[str, list[WorkspaceGrant]] = {}
    grants = WorkspaceGrant.objects.filter(workspace=workspace)
    for grant in grants.select_related("team", "membership__user").order_by("id"):
        if grant.membership_id is not None:
            by_member.setdefault(grant.membership_id, []).append(grant)
        if grant.team_id is not None:
            by_team.setdefault(grant.team_id, []).append(grant)
    members = TeamMember.objects.filter(team_id__in=by_team)
    for membership_id, team_id in members.values_list("membership_id", "team_id"):
        by_member.setdefault(membership_id, []).extend(by_team[team_id])
    everybody = active_members(workspace.organization_id)
    reaches = (_reach(workspace, member, by_member.get(member.pk, [])) for member in everybody)
    return [reach for reach in reaches if Permission.OUTPUT_VIEW in reach.rights]


def count_reaches(workspaces: list[Workspace]) -> dict[str, int]:
    """How many `who_reaches` would list for each workspace of one organization."""
    if not workspaces:
        return {}
    roles = Membership.objects.filter(
        organization_id=workspaces[0].organization_id, user__is_active=True
    ).values_list("pk", "role")
    everybody = {pk: Role(role) for pk, role in roles}
    leaders = {pk for pk, role in everybody.items() if role in REACH_ALL}
    lookers = {
        pk for pk, role in everybody.items() if Permission.OUTPUT_VIEW in ROLE_PERMISSIONS[role]
    }
    grants = WorkspaceGrant.objects.filter(workspace__in=workspaces)
    by_name = grants.exclude(membership=None).values_list("workspace_id", "membership_id")
    by_team = grants.exclude(team=None).values_list("workspace_id", "team__members__membership_id")
    let_in: dict[str, set[int]] = {}
    for workspace_id, membership_id in [*by_name, *by_team]:
        if membership_id in everybody:  # an empty team lets nobody in
            let_in.setdefault(workspace_id, set()).add(membership_id)
    counts = {}
    for workspace in workspaces:
        anyhow = leaders if workspace.is_restricted else lookers
        counts[workspace.pk] = len(anyhow) + len(let_in.get(workspace.pk, set()) - anyhow)
    return counts


def reaches_of_member(
    member: Membership, workspaces: Sequence[Workspace]
) -> list[tuple[Workspace, Reach]]:
    """Which of the workspaces the member can look into, and what lets them in."""
    if not member.user.is_active:
        return []
    teams = set(TeamMember.objects.filter(membership=member).values_list("team_id", flat=True))
    grants: dict[str, list[WorkspaceGrant]] = {}
    for grant in WorkspaceGrant.objects.filter(
        Q(membership=member) | Q(team_id__in=teams), workspace__in=workspaces
    ).select_related("team"):
        grants.setdefault(grant.workspace_id, []).append(grant)
    found = [(w, _reach(w, member, grants.get(w.pk, []))) for w in workspaces]
    return [(w, reach) for w, reach in found if Permission.OUTPUT_VIEW in reach.rights]


def _reach(workspace: Workspace, member: Membership, grants: list[WorkspaceGrant]) -> Reach:
    """What the member's role and these grants, which are theirs, make of them there."""
    role = Role(member.role)
    is_in = role in REACH_ALL or not workspace.is_restricted
    rights = ROLE_PERMISSIONS[role] if is_in else ROLE_PERMISSIONS[role] - IN_WORKSPACE
    if role not in REACH_ALL:
        rights = rights.union(*(GRANTED[WorkspaceRole(grant.role)] for grant in grants))
    by_role = is_in and Permission.OUTPUT_VIEW in ROLE_PERMISSIONS[role]
    mine = tuple(sorted(grants, key=lambda grant: grant.pk))
    return Reach(user=member.user, role=role, by_role=by_role, grants=mine, rights=rights)


def grants_in(workspace: Workspace) -> list[WorkspaceGrant]:
    """Who was let in, teams first, then members by name."""
    grants = workspace.grants.select_related("team", "membership__user")
    return sorted(grants, key=lambda g: (g.team is None, _grantee_name(g).casefold()))


def _grantee_name(grant: WorkspaceGrant) -> str:
    if grant.team is not None:
        return grant.team.name
    return grant.membership.user.shown_name if grant.membership else ""


def open_workspaces(organization_id: str) -> list[Workspace]:
    """All workspaces of the organization but the deleted, oldest first: for those who lead it."""
    rooms = Workspace.objects.filter(organization_id=organization_id, deleted_at=None)
    return list(rooms.select_related("organization").order_by("id"))


def deleted_workspaces(organization_id: str) -> list[Workspace]:
    """Those that can still be brought back, the last deleted first."""
    deleted = Workspace.objects.filter(
        organization_id=organization_id, destroy_at__gt=timezone.now()
    )
    # An emptied key is one that is being destroyed.
    return [w for w in deleted.order_by("-deleted_at") if w.wrapped_key]


def bytes_in(workspaces: list[Workspace]) -> dict[str, int]:
    """What each workspace's stored objects take, in bytes."""
    stored = Artifact.objects.filter(workspace__in=workspaces).values_list("workspace_id")
    return dict(stored.annotate(total=Sum("sealed_bytes")))


def who_can_be_let_in(workspace: Workspace) -> tuple[list[Membership], list[Team]]:
    """Members and teams of the organization that have no grant there yet, by name."""
    grants = WorkspaceGrant.objects.filter(workspace=workspace)
    members = set(grants.exclude(membership=None).values_list("membership_id", flat=True))
    teams = grants.exclude(team=None).values_list("team_id", flat=True)
    others = Team.objects.filter(organization_id=workspace.organization_id).exclude(pk__in=teams)
    return (
        [m for m in active_members(workspace.organization_id) if m.pk not in members],
        sorted(others, key=lambda team: team.name.casefold()),
    )
