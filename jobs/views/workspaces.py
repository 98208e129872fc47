"""The organization's workspaces: listing, making, bringing back."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.http import OrganizationRequest, organization_page
from accounts.presenters import organization_context
from accounts.roles import Permission
from jobs.office import workspaces_context
from jobs.services.deletion import restore_workspace
from studio.core.errors import ConflictError, InvalidInputError
from workspaces.access import get_deleted_workspace
from workspaces.services.administration import create_workspace


@require_http_methods(["GET", "POST"])
@organization_page(Permission.WORKSPACE_CREATE)
def workspaces(request: OrganizationRequest) -> HttpResponse:
    """The list; the form under it makes another."""
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            made = create_workspace(
                actor=request.actor,
                name=request.POST.get("name", ""),
                color=request.POST.get("color", ""),
                is_restricted="is_restricted" in request.POST,
            )
        except InvalidInputError as error:
            errors = {problem.field: problem.message for problem in error.problems}
        else:
            messages.success(request, f"{made.name} is there.")
            return redirect("workspaces", request.organization.pk)
    context = {
        **organization_context(request, "workspaces"),
        **workspaces_context(request.organization, request.actor),
        "errors": errors,
        "values": request.POST,
    }
    status = 422 if errors else 200
    return render(request, "jobs/workspaces.html", context, status=status)


@require_POST
@organization_page(Permission.WORKSPACE_DELETE)
def workspace_restore(request: OrganizationRequest, workspace_id: str) -> HttpResponse:
    """Bring a deleted workspace back; a click too late says so."""
    workspace = get_deleted_workspace(request.actor, workspace_id)
    try:
        if restore_workspace(actor=request.actor, workspace=workspace):
            messages.success(request, f"{workspace.name} is back, with everything in it.")
    except ConflictError as error:
        messages.error(request, error.message)
    return redirect("workspaces", request.organization.pk)
