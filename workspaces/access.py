"""The only way to a workspace or an artifact; what comes back is proof of access."""

from __future__ import annotations

from accounts.actors import Actor
from accounts.roles import Permission
from studio.core.errors import NotFoundError
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace


def get_workspace(actor: Actor, workspace_id: str, *, permission: Permission) -> Workspace:
    """A workspace of the actor's organization.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: the role does not carry the permission.
    """
    mine = Workspace.objects.filter(pk=workspace_id, organization_id=actor.organization_id)
    workspace = mine.select_related("organization").first()
    if workspace is None:
        raise NotFoundError(noun="workspace")
    actor.require(permission)
    return workspace


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
