"""What the pages about workspaces are given: the list, who can see one, the export. Reads only."""

from __future__ import annotations

from typing import Any

from accounts.actors import Actor
from accounts.models import Organization
from accounts.roles import REACH_ALL, Permission, WorkspaceRole
from jobs.selectors import picture_counts
from workspaces.models import Workspace, WorkspaceGrant
from workspaces.palette import COLORS
from workspaces.selectors import (
    Reach,
    bytes_in,
    count_reaches,
    deleted_workspaces,
    grants_in,
    open_workspaces,
    who_can_be_let_in,
    who_reaches,
)

# What each role in a workspace means there, for the list of people and for choosing.
MEANINGS = {
    WorkspaceRole.MANAGER: "makes pictures, decides who gets in",
    WorkspaceRole.ARTIST: "makes pictures",
    WorkspaceRole.VIEWER: "looks only",
}
PEOPLE_NAMED = 3


def workspaces_context(organization: Organization, actor: Actor) -> dict[str, Any]:
    """The organization's workspaces with their numbers, and those that can be brought back."""
    rooms = open_workspaces(organization.pk)
    people, pictures, sizes = count_reaches(rooms), picture_counts(rooms), bytes_in(rooms)
    can_delete = actor.can(Permission.WORKSPACE_DELETE)
    return {
        "rooms": [
            {
                "workspace": room,
                "people": people[room.pk],
                "pictures": pictures.get(room.pk, 0),
                "bytes": sizes.get(room.pk, 0),
            }
            for room in rooms
        ],
        "deleted": deleted_workspaces(organization.pk) if can_delete else [],
        "colors": COLORS,
    }


def access_context(workspace: Workspace, actor: Actor) -> dict[str, Any]:
    """Who can see the workspace, as what and why; and what of it the actor may change."""
    people = who_reaches(workspace)
    can_manage = actor.can(Permission.WORKSPACE_MANAGE)
    context: dict[str, Any] = {
        "people": [_person(reach) for reach in people],
        "can_manage": can_manage,
        "can_delete": actor.can(Permission.WORKSPACE_DELETE),
        "roles": [{"id": role.value, "means": MEANINGS[role]} for role in WorkspaceRole],
        "colors": COLORS,
    }
    if can_manage:
        members, teams = who_can_be_let_in(workspace)
        context["grants"] = [_grant(grant) for grant in grants_in(workspace)]
        context["candidates"] = members
        context["candidate_teams"] = teams
        context["restricting"] = _restricting(workspace, people)
    return context


def _person(reach: Reach) -> dict[str, Any]:
    return {
        "name": reach.user.shown_name,
        "email": reach.user.email if reach.user.name else "",
        "is_service": reach.user.is_service,
        "does": _does(reach),
        "why": _why(reach),
    }


def _does(reach: Reach) -> str:
    if Permission.WORKSPACE_MANAGE in reach.rights:
        return "Manages"
    return "Makes pictures" if Permission.JOB_SUBMIT in reach.rights else "Looks"


def _why(reach: Reach) -> list[str]:
    """The ways in, the widest first."""
    ways = [f"{reach.role.value} of the organization"] if reach.by_role else []
    for grant in reach.grants:
        through = f"team {grant.team.name}" if grant.team else "let in by name"
        ways.append(f"{grant.role}, {through}")
    return ways


def _grant(grant: WorkspaceGrant) -> dict[str, Any]:
    if grant.team:
        return {"id": grant.pk, "role": grant.role, "team": grant.team.name, "name": ""}
    name = grant.membership.user.shown_name if grant.membership else ""
    return {"id": grant.pk, "role": grant.role, "team": "", "name": name}


def _restricting(workspace: Workspace, people: list[Reach]) -> str:
    """What turning the switch would do, with names: a plain sentence."""
    organization = workspace.organization.name
    if workspace.is_restricted:
        return (
            "Only owners, admins and those let in by name or team get in. Open it, and every "
            f"member of {organization} gets in with their role there: artists make pictures, "
            "viewers look."
        )
    shut_out = [
        reach.user.shown_name
        for reach in people
        if reach.role not in REACH_ALL and not reach.grants
    ]
    loss = f"{_names(shut_out)} would lose it at once." if shut_out else "Nobody would lose it."
    return (
        f"Members of {organization} get in with their role there. Restrict it, and only owners, "
        f"admins and those let in by name or team do. {loss}"
    )


def _names(names: list[str]) -> str:
    shown, more = names[:PEOPLE_NAMED], len(names) - PEOPLE_NAMED
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
