"""Who can see a workspace: looking, letting in and out, restricting; its name; deleting it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.roles import Permission
from jobs.office import access_context
from jobs.presenters import base_context
from jobs.services.deletion import delete_workspace
from studio.core.errors import InvalidInputError
from workspaces.access import actor_within, is_closed_to
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.services.administration import Changes, change_workspace
from workspaces.services.grants import Grantee, change_grant, grant_access, revoke_grant


@require_safe
@workspace_page(Permission.WORKSPACE_VIEW)
def access(request: WorkspaceRequest) -> HttpResponse:
    """Everybody who gets in, as what and why."""
    return _page(request)


@require_POST
@workspace_page(Permission.WORKSPACE_MANAGE)
def workspace_change(request: WorkspaceRequest) -> HttpResponse:
    """Set what the form holds: name and color, or the switch."""
    restricted = request.POST.get("is_restricted")
    changes = Changes(
        name=request.POST.get("name"),
        color=request.POST.get("color"),
        is_restricted=None if restricted is None else restricted == "1",
    )
    try:
        change_workspace(actor=request.actor, workspace=request.workspace, changes=changes)
    except InvalidInputError as error:
        return _page(request, error)
    return redirect("access", request.workspace.pk)


@require_POST
@workspace_page(Permission.WORKSPACE_MANAGE)
def access_grant(request: WorkspaceRequest) -> HttpResponse:
    """Let a member or a team in."""
    chosen = request.POST.get("grantee", "")
    is_team = chosen.startswith("tea_")
    grantee = Grantee(team_id=chosen) if is_team else Grantee(user_id=chosen)
    try:
        grant_access(
            actor=request.actor,
            workspace=request.workspace,
            grantee=grantee,
            role=request.POST.get("role", ""),
        )
    except InvalidInputError as error:
        return _page(request, error)
    return redirect("access", request.workspace.pk)


@require_POST
@workspace_page(Permission.WORKSPACE_MANAGE)
def grant(request: WorkspaceRequest, grant_id: str) -> HttpResponse:
    """Give somebody who was let in another role, or take it back."""
    actor, workspace = request.actor, request.workspace
    try:
        if request.POST.get("action") == "revoke":
            revoke_grant(actor=actor, workspace=workspace, grant_id=grant_id)
        else:
            role = request.POST.get("role", "")
            change_grant(actor=actor, workspace=workspace, grant_id=grant_id, role=role)
    except InvalidInputError as error:
        return _page(request, error)
    if _has_left(request):
        messages.success(request, f"You are no longer in {workspace.name}.")
        return redirect("home")
    return redirect("access", workspace.pk)


@require_POST
@workspace_page(Permission.WORKSPACE_DELETE)
def workspace_delete(request: WorkspaceRequest) -> HttpResponse:
    """Delete the workspace whose name was typed."""
    workspace, typed = request.workspace, request.POST.get("confirmation", "")
    try:
        delete_workspace(actor=request.actor, workspace=workspace, confirmation=typed)
    except InvalidInputError as error:
        return _page(request, error)
    messages.success(
        request, f"{workspace.name} is deleted. For seven days it can be brought back."
    )
    return redirect("workspaces", workspace.organization_id)


def _has_left(request: WorkspaceRequest) -> bool:
    """Whether the actor has just shut themselves out."""
    asking = request.actor.within("", request.actor.rights)
    if is_closed_to(asking, request.workspace):
        return True
    return not actor_within(asking, request.workspace).can(Permission.WORKSPACE_VIEW)


def _page(request: WorkspaceRequest, error: InvalidInputError | None = None) -> HttpResponse:
    """The page, with what was wrong at the fields and what was typed still in them."""
    email = str(getattr(request.user, "email", ""))
    problems = error.problems if error else ()
    context = {
        **base_context(request.workspace, request.actor, email),
        **access_context(request.workspace, request.actor),
        "errors": {problem.field: problem.message for problem in problems},
        "values": request.POST,
    }
    return render(request, "jobs/access.html", context, status=422 if error else 200)
