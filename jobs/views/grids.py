"""Pages of grids: the list, one that fills as pictures arrive, and all of it as one picture."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.roles import Permission
from gpuagent.protocol.sealing import SealBrokenError
from jobs.grid_sheets import grid_context, make_sheet
from jobs.models import Grid
from jobs.presenters import base_context
from jobs.services.grids import Plan, get_grid, grids_of, make_grid, plan_grid
from jobs.views.room import FIELDS
from studio.core.errors import NotFoundError
from workspaces.http import WorkspaceRequest, workspace_page


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def grids(request: WorkspaceRequest) -> HttpResponse:
    """The newest grids."""
    rows = [grid_context(grid) for grid in grids_of(request.workspace)]
    return render(request, "jobs/grids.html", {**_base(request), "grids": rows})


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def grid_new(request: WorkspaceRequest) -> JsonResponse:
    """A grid of the room's form, answered with its address."""
    made = make_grid(
        actor=request.actor,
        workspace=request.workspace,
        plan=_plan(request),
        project_id=request.POST.get("project"),
        tier=request.POST.get("tier"),
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    url = reverse("grid", args=[request.workspace.pk, made.grid.pk])
    return JsonResponse({"url": url}, status=201 if made.is_new else 200)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def grid_count(request: WorkspaceRequest) -> JsonResponse:
    """How many pictures the form's axes make. Prompts are posted: addresses are logged."""
    return JsonResponse({"pictures": len(_plan(request).requests)})


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def grid(request: WorkspaceRequest, grid_id: str) -> HttpResponse:
    """One grid."""
    context = {**_base(request), **grid_context(_grid(request, grid_id))}
    return render(request, "jobs/grid.html", context)


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def grid_live(request: WorkspaceRequest, grid_id: str) -> HttpResponse:
    """Its tables alone, asked for every few seconds while something is open."""
    context = grid_context(_grid(request, grid_id))
    return render(request, "jobs/partials/grid_tables.html", context)


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def grid_sheet(request: WorkspaceRequest, grid_id: str) -> HttpResponse:
    """All of it as one PNG, without any recipe inside."""
    found = _grid(request, grid_id)
    try:
        sheet = make_sheet(found)
    except SealBrokenError:
        raise NotFoundError(noun="grid") from None
    name = f"grid-{found.created_at:%Y%m%d-%H%M%S}-{found.pk[-6:].lower()}.png"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(sheet, content_type="image/png", headers=headers)


def _plan(request: WorkspaceRequest) -> Plan:
    return plan_grid(
        actor=request.actor,
        workspace=request.workspace,
        raw={name: value for name, value in request.POST.items() if name in FIELDS},
        axes=request.POST.get("axes"),
    )


def _grid(request: WorkspaceRequest, grid_id: str) -> Grid:
    return get_grid(
        request.actor, grid_id, permission=Permission.OUTPUT_VIEW, workspace=request.workspace
    )


def _base(request: WorkspaceRequest) -> dict[str, Any]:
    email = str(getattr(request.user, "email", ""))
    return base_context(request.workspace, request.actor, email)
