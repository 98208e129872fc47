"""Letting members and teams into a workspace, and out again."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from accounts.actors import Actor
from accounts.models import Membership, Team
from accounts.roles import Permission, WorkspaceRole
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError, NotFoundError
from workspaces.access import require_in
from workspaces.announcements import announce_access
from workspaces.models import Workspace, WorkspaceGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantee:
    """Whom a grant is for: a member, by the id of their user, or a team."""

    user_id: str = ""
    team_id: str = ""


@transaction.atomic
def grant_access(
    *, actor: Actor, workspace: Workspace, grantee: Grantee, role: str
) -> WorkspaceGrant:
    """Let a member or a team in; who is in already gets this role instead.

    Raises:
        InvalidInputError: there is no such role, or not exactly one grantee.
        NotFoundError: the member or team is not of this organization.
    """
    require_in(actor, workspace, Permission.WORKSPACE_MANAGE)
    whom = _find(actor, grantee)
    wanted = _role(role)
    # The lock makes one of two grants that come at once.
    Workspace.objects.select_for_update(of=("self",)).get(pk=workspace.pk)
    grant = WorkspaceGrant.objects.filter(workspace=workspace, **whom).first()
    if grant is None:
        grant = WorkspaceGrant.objects.create(
            organization_id=workspace.organization_id, workspace=workspace, role=wanted, **whom
        )
        _record(actor, grant, action="access.granted", role=wanted)
    else:
        _change(actor, grant, wanted)
    announce_access(workspace.pk)
    return grant


@transaction.atomic
def change_grant(*, actor: Actor, workspace: Workspace, grant_id: str, role: str) -> WorkspaceGrant:
    """Give a grant another role.

    Raises:
        InvalidInputError: there is no such role.
        NotFoundError: the workspace has no such grant.
    """
    require_in(actor, workspace, Permission.WORKSPACE_MANAGE)
    wanted = _role(role)
    grant = WorkspaceGrant.objects.select_for_update().filter(workspace=workspace, pk=grant_id)
    found = grant.first()
    if found is None:
        raise NotFoundError(noun="grant")
    _change(actor, found, wanted)
    announce_access(workspace.pk)
    return found


@transaction.atomic
def revoke_grant(*, actor: Actor, workspace: Workspace, grant_id: str) -> bool:
    """Take a grant back; what the role in the organization gives stays. False if it was gone."""
    require_in(actor, workspace, Permission.WORKSPACE_MANAGE)
    grant = WorkspaceGrant.objects.filter(workspace=workspace, pk=grant_id).first()
    if grant is None or not WorkspaceGrant.objects.filter(pk=grant.pk).delete()[0]:
        return False
    _record(actor, grant, action="access.revoked", was=grant.role)
    announce_access(workspace.pk)
    return True


def _change(actor: Actor, grant: WorkspaceGrant, role: WorkspaceRole) -> None:
    if grant.role == role:
        return
    was = grant.role
    grant.role = role.value
    grant.save(update_fields=["role"])
    _record(actor, grant, action="access.changed", role=role, was=was)


def _record(actor: Actor, grant: WorkspaceGrant, *, action: str, **codes: str) -> None:
    whom = {"team": grant.team_id} if grant.team_id else {"user": _user_of(grant)}
    record_event(actor, action, grant.workspace_id, {**whom, **codes, "grant": grant.pk})


def _user_of(grant: WorkspaceGrant) -> str:
    return grant.membership.user_id if grant.membership else ""


def _find(actor: Actor, grantee: Grantee) -> dict[str, Membership | Team]:
    if bool(grantee.user_id) == bool(grantee.team_id):
        message = "Name a member or a team, one of the two."
        raise InvalidInputError([FieldProblem(field="grantee", code="one_of", message=message)])
    if grantee.team_id:
        team = Team.objects.filter(
            pk=grantee.team_id, organization_id=actor.organization_id
        ).first()
        if team is None:
            raise NotFoundError(noun="team")
        return {"team": team}
    member = Membership.objects.filter(
        user_id=grantee.user_id, organization_id=actor.organization_id, user__is_active=True
    ).first()
    if member is None:
        raise NotFoundError(noun="member")
    return {"membership": member}


def _role(role: str) -> WorkspaceRole:
    try:
        return WorkspaceRole(role)
    except ValueError:
        names = [known.value for known in WorkspaceRole]
        message = f"There is no role {role!r} in a workspace. Choose {', '.join(names)}."
        problem = FieldProblem(
            field="role", code="choice", message=message, value=role, limit=list(names)
        )
        raise InvalidInputError([problem]) from None
