"""The page of a workspace's projects."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.roles import Permission
from jobs.presenters import base_context, project_row
from jobs.selectors import projects_of
from studio.core.errors import InvalidInputError
from workspaces.access import get_project
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.palette import COLORS
from workspaces.services.projects import (
    COLOR_DEFAULT,
    NAME_MAX,
    ProjectChange,
    change_project,
    create_project,
)


@require_http_methods(["GET", "POST"])
@workspace_page(Permission.PROJECT_MANAGE)
def projects(request: WorkspaceRequest) -> HttpResponse:
    """All projects; a new one."""
    if request.method == "POST":
        name, color = request.POST.get("name", ""), request.POST.get("color", COLOR_DEFAULT)
        try:
            create_project(actor=request.actor, workspace=request.workspace, name=name, color=color)
        except InvalidInputError as error:
            new = {"name": name, "color": color, "problem": error.message}
            return _page(request, new=new, status=422)
        return redirect("projects", request.workspace.pk)
    return _page(request)


@require_POST
@workspace_page(Permission.PROJECT_MANAGE)
def project_change(request: WorkspaceRequest, project_id: str) -> HttpResponse:
    """Rename, recolor, archive, bring back."""
    project = get_project(
        request.actor,
        project_id,
        permission=Permission.PROJECT_MANAGE,
        workspace=request.workspace,
    )
    archived = request.POST.get("archived")
    change = ProjectChange(
        name=request.POST.get("name"),
        color=request.POST.get("color"),
        is_archived=None if archived is None else archived == "1",
    )
    try:
        change_project(actor=request.actor, project=project, change=change)
    except InvalidInputError as error:
        wrong = {"id": project.pk, "name": change.name or "", "problem": error.message}
        return _page(request, wrong=wrong, status=422)
    return redirect("projects", request.workspace.pk)


def _page(
    request: WorkspaceRequest,
    *,
    new: dict[str, Any] | None = None,
    wrong: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    email = str(getattr(request.user, "email", ""))
    rows = [project_row(project) for project in projects_of(request.workspace, with_archived=True)]
    context = {
        **base_context(request.workspace, request.actor, email),
        "open_projects": [row for row in rows if not row["is_archived"]],
        "archived_projects": [row for row in rows if row["is_archived"]],
        "colors": COLORS,
        "name_max": NAME_MAX,
        "new": new or {"name": "", "color": COLOR_DEFAULT},
        "wrong": wrong,
        "can_share": request.actor.can(Permission.SHARE_MANAGE),
    }
    return render(request, "jobs/projects.html", context, status=status)
