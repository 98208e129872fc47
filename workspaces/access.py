"""The only way to a workspace or an artifact; what comes back is proof of access.

Who may do what in a workspace: owners and admins what their role says, in every workspace; others
what their role says in workspaces that are not restricted, and in each what grants to them or
their teams add. A token can only have less.
"""

from __future__ import annotations

from django.db.models import Q, QuerySet

from accounts.actors import Actor
from accounts.roles import (
    GRANTED,
    IN_WORKSPACE,
    REACH_ALL,
    ROLE_PERMISSIONS,
    Permission,
    Permissions,
    WorkspaceRole,
)
from studio.core.errors import NotFoundError
from workspaces.models import (
    Artifact,
    ArtifactKind,
    ArtifactStatus,
    Project,
    ShareLink,
    Workspace,
    WorkspaceGrant,
)


def get_workspace(actor: Actor, workspace_id: str, *, permission: Permission) -> Workspace:
    """A workspace that the actor can enter.

    Raises:
        NotFoundError: there is none of that id that they may know of.
        ForbiddenError: they may not do this there.
    """
    workspace = (
        Workspace.objects.select_related("organization")
        .filter(pk=workspace_id, organization_id=actor.organization_id, deleted_at=None)
        .first()
    )
    if workspace is None:
        raise NotFoundError(noun="workspace")
    require_in(actor, workspace, permission, noun="workspace")
    return workspace


def get_project(
    actor: Actor, project_id: str, *, permission: Permission, workspace: Workspace | None = None
) -> Project:
    """A project that the actor can reach, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not do this in its workspace.
    """
    projects = Project.objects.select_related("workspace").filter(
        pk=project_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        projects = projects.filter(workspace=workspace)
    project = projects.first()
    if project is None:
        raise NotFoundError(noun="project")
    require_in(actor, project.workspace, permission, noun="project")
    return project


def get_share(actor: Actor, share_id: str, *, workspace: Workspace | None = None) -> ShareLink:
    """A share link that the actor may manage, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not manage links in its workspace.
    """
    links = ShareLink.objects.select_related("workspace", "project", "created_by").filter(
        pk=share_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        links = links.filter(workspace=workspace)
    link = links.first()
    if link is None:
        raise NotFoundError(noun="share link")
    require_in(actor, link.workspace, Permission.SHARE_MANAGE, noun="share link")
    return link


def get_deleted_workspace(actor: Actor, workspace_id: str) -> Workspace:
    """A workspace that the actor may bring back, deleted or (a click too late) not any more.

    Raises:
        NotFoundError: there is none of that id that they may know of.
        ForbiddenError: they know of it, but may not delete workspaces.
    """
    workspace = (
        Workspace.objects.select_related("organization")
        .filter(pk=workspace_id, organization_id=actor.organization_id)
        .first()
    )
    if workspace is None or _is_outside_token(actor, workspace):
        raise NotFoundError(noun="workspace")
    if workspace.deleted_at is None:
        require_in(actor, workspace, Permission.WORKSPACE_DELETE)
    elif not actor.can(Permission.WORKSPACE_DELETE):
        raise NotFoundError(noun="workspace")
    return workspace


def require_in(
    actor: Actor, workspace: Workspace, permission: Permission, *, noun: str = "workspace"
) -> None:
    """Raise unless the actor may do this in the workspace, to which the object (`noun`) belongs.

    Raises:
        NotFoundError: they may not even know of it: the workspace is closed to them, or deleted.
        ForbiddenError: they may not do this there.
    """
    if workspace.deleted_at is not None or is_closed_to(actor, workspace):
        raise NotFoundError(noun=noun)
    # Most are let in by their role, without a look at grants.
    if not actor.within(workspace.pk, _rights_by_role(actor, workspace)).can(permission):
        actor_within(actor, workspace).require(permission)


def actor_within(actor: Actor, workspace: Workspace) -> Actor:
    """The actor with the rights they have in the workspace."""
    if actor.workspace_id == workspace.pk:
        return actor
    return actor.within(workspace.pk, _rights(actor, workspace))


def is_closed_to(actor: Actor, workspace: Workspace) -> bool:
    """Whether the actor must not learn that the workspace exists.

    A member whose role shows no pictures at all is told so (403) where the workspace is open to
    the organization: that it exists is no secret to them.
    """
    if actor.organization_id != workspace.organization_id or _is_outside_token(actor, workspace):
        return True
    if not workspace.is_restricted or actor.role in REACH_ALL:
        return False
    return not grants_of(actor).filter(workspace=workspace).exists()


def visible_workspaces(actor: Actor) -> QuerySet[Workspace]:
    """Workspaces that the actor (its token's scopes aside) can look into, oldest first."""
    found = Workspace.objects.filter(organization_id=actor.organization_id, deleted_at=None)
    if actor.workspace_ids:
        found = found.filter(pk__in=actor.workspace_ids)
    if actor.role not in REACH_ALL:
        granted = Q(pk__in=grants_of(actor).values("workspace_id"))
        by_role = Permission.WORKSPACE_VIEW in ROLE_PERMISSIONS[actor.role]
        found = found.filter(granted | Q(is_restricted=False) if by_role else granted)
    return found.order_by("id")


def can_somewhere(actor: Actor, permission: Permission) -> bool:
    """Whether a grant in any workspace carries what the role does not."""
    if actor.scopes is not None and permission not in actor.scopes:
        return False
    roles = [role.value for role, rights in GRANTED.items() if permission in rights]
    return bool(roles) and grants_of(actor).filter(role__in=roles).exists()


def grants_of(actor: Actor) -> QuerySet[WorkspaceGrant]:
    """Grants to the member and to their teams."""
    return WorkspaceGrant.objects.filter(
        Q(membership__user_id=actor.user_id) | Q(team__members__membership__user_id=actor.user_id),
        organization_id=actor.organization_id,
    )


def find_input(workspace: Workspace, sha256: str) -> Artifact | None:
    """The newest stored starting picture with these bytes in the workspace."""
    return (
        Artifact.objects.filter(
            workspace=workspace,
            kind=ArtifactKind.INPUT.value,
            status=ArtifactStatus.STORED.value,
            sha256=sha256,
        )
        .order_by("-id")
        .first()
    )


def hold_input(artifact: Artifact) -> bool:
    """Keep a starting picture until the transaction ends; False if it was swept before that."""
    held = Artifact.objects.select_for_update(no_key=True).filter(
        pk=artifact.pk, status=ArtifactStatus.STORED.value
    )
    return held.first() is not None


def _rights(actor: Actor, workspace: Workspace) -> Permissions:
    by_role = _rights_by_role(actor, workspace)
    if not by_role or actor.role in REACH_ALL:
        return by_role
    roles = grants_of(actor).filter(workspace=workspace).values_list("role", flat=True)
    return by_role.union(*(GRANTED[WorkspaceRole(role)] for role in roles))


def _rights_by_role(actor: Actor, workspace: Workspace) -> Permissions:
    if workspace.organization_id != actor.organization_id or _is_outside_token(actor, workspace):
        return frozenset()
    by_role = ROLE_PERMISSIONS[actor.role]
    is_shut = workspace.is_restricted and actor.role not in REACH_ALL
    return by_role - IN_WORKSPACE if is_shut else by_role


def _is_outside_token(actor: Actor, workspace: Workspace) -> bool:
    return bool(actor.workspace_ids) and workspace.pk not in actor.workspace_ids
