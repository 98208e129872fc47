"""Reads of workspaces."""

from __future__ import annotations

from studio.core.scoping import organization_scope, system_scope
from workspaces.models import Workspace


def organization_of(workspace_id: str) -> str | None:
    """Whose workspace an id in a URL names, before any scope is open; membership comes next."""
    with system_scope():
        return (
            Workspace.objects.filter(pk=workspace_id)
            .values_list("organization_id", flat=True)
            .first()
        )


def workspaces_of(organization_ids: list[str]) -> list[Workspace]:
    """All workspaces of the organizations, each read in its own scope; oldest first."""
    found: list[Workspace] = []
    for organization_id in organization_ids:
        with organization_scope(organization_id):
            found.extend(Workspace.objects.select_related("organization").order_by("id"))
    return found
