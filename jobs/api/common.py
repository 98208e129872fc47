"""What calls of the API share: descriptions, the workspace meant, lists, the filters."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from accounts.roles import Permission
from jobs.selectors import Filters
from studio.core.errors import NotFoundError, invalid
from workspaces.access import get_project, get_workspace, visible_workspaces
from workspaces.api import OrganizationView
from workspaces.models import Workspace

WORKSPACE = OpenApiParameter("workspace", OpenApiTypes.STR, description="Id of a workspace.")
BEFORE = OpenApiParameter("before", OpenApiTypes.STR, description="`next` of the page before.")
PROJECT = OpenApiParameter("project", OpenApiTypes.STR, description="Id of a project.")
QUERY = OpenApiParameter(
    "q", OpenApiTypes.STR, description="Whole words that the prompt or negative prompt must have."
)


def workspace_of(
    view: OrganizationView, workspace_id: str | None, permission: Permission
) -> Workspace:
    """The named workspace, or the first that the token can look into."""
    if workspace_id:
        return get_workspace(view.actor, str(workspace_id), permission=permission)
    first = visible_workspaces(view.actor).first()
    if first is None:
        raise NotFoundError(noun="workspace")
    return get_workspace(view.actor, first.pk, permission=permission)


def strings_of(body: dict[str, Any], field: str) -> list[str]:
    """A list of strings in the body; none if it is left out.

    Raises:
        InvalidInputError: it is something else.
    """
    value = body.get(field)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise invalid(field, "not_a_list", f"`{field}` must be a list of ids.")


def chosen_filters(
    view: OrganizationView, request: Request, workspace: Workspace, permission: Permission
) -> Filters:
    """The project and the words that the address names."""
    project_id = request.GET.get("project")
    project = project_id and get_project(
        view.actor, project_id, permission=permission, workspace=workspace
    )
    return Filters(project=project or None, query=request.GET.get("q", ""))
