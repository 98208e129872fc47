"""One picture: looking, taking its recipe, making it again, downloading, trash."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.roles import Permission
from jobs import access
from jobs.models import Output
from jobs.presenters import (
    base_context,
    download_name,
    job_tiles,
    output_context,
    output_tile,
)
from jobs.recipes import for_form, open_recipe
from jobs.services.cutting import cut_output
from jobs.services.outputs import rerun_output, restore_output, trash_output
from jobs.services.placing import place_outputs
from jobs.services.submission import Submitted
from jobs.services.upscaling import upscale_output
from jobs.services.varying import vary_output
from jobs.upload_facts import upload_facts
from workspaces.access import get_project
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.services.uploads import add_upload_of
from workspaces.views import deliver


def _output(request: WorkspaceRequest, output_id: str, permission: Permission) -> Output:
    return access.get_output(
        request.actor, output_id, permission=permission, workspace=request.workspace
    )


@require_safe
@vary_on_headers("HX-Request")
@never_cache
@workspace_page(Permission.OUTPUT_VIEW)
def output_view(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """The viewer: a fragment for the room's scripts, a page for an address typed in."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    context = output_context(output, request.actor)
    if request.headers.get("HX-Request"):
        return render(request, "jobs/partials/output.html", context)
    email = str(getattr(request.user, "email", ""))
    page = {**base_context(request.workspace, request.actor, email), **context}
    return render(request, "jobs/output_page.html", page)


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def output_parameters(request: WorkspaceRequest, output_id: str) -> JsonResponse:
    """The recipe of just this picture."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    return JsonResponse({"recipe": for_form(open_recipe(output.job).only(output.index))})


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def output_download(request: WorkspaceRequest, output_id: str) -> HttpResponseBase:
    """The picture as it was made, with the metadata inside it."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    return deliver(request, output.picture, filename=download_name(output))


def _made(request: WorkspaceRequest, submitted: Submitted) -> HttpResponse:
    """The tiles of a job that was made from a picture."""
    tiles = job_tiles(submitted.job, request.actor)
    return render(request, "jobs/partials/tiles.html", {"tiles": tiles}, status=201)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def output_rerun(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Make the picture again: a new job, whose tile is the answer."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    submitted = rerun_output(
        output=output,
        actor=request.actor,
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    return _made(request, submitted)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def output_upscale(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Make the picture larger, with `refine` drawn again: a new job, whose tile is the answer."""
    submitted = upscale_output(
        output=_output(request, output_id, Permission.OUTPUT_VIEW),
        actor=request.actor,
        scale=request.POST.get("scale"),
        model=request.POST.get("model"),
        refine=request.POST.get("refine"),
        control=request.POST.get("control"),
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    return _made(request, submitted)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def output_variations(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Pictures near this one: a new job, whose tiles are the answer."""
    submitted = vary_output(
        output=_output(request, output_id, Permission.OUTPUT_VIEW),
        actor=request.actor,
        strength=request.POST.get("strength"),
        count=request.POST.get("count"),
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    return _made(request, submitted)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def output_cutout(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Take its background away: a new job, whose tile is the answer."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    submitted = cut_output(
        output=output,
        actor=request.actor,
        edge=request.POST.get("cutout_edge"),
        result=request.POST.get("cutout_result"),
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    return _made(request, submitted)


@require_POST
@workspace_page(Permission.UPLOAD_CREATE)
def output_start(request: WorkspaceRequest, output_id: str) -> JsonResponse:
    """Make the picture a starting picture."""
    output = _output(request, output_id, Permission.OUTPUT_VIEW)
    upload = add_upload_of(actor=request.actor, picture=output.picture)
    return JsonResponse(upload_facts(upload), status=201)


@require_POST
@workspace_page(Permission.OUTPUT_TRASH)
def output_trash(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """To the trash."""
    output = _output(request, output_id, Permission.OUTPUT_TRASH)
    trash_output(output=output, actor=request.actor)
    return _tile(request, output)


@require_POST
@workspace_page(Permission.OUTPUT_TRASH)
def output_restore(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Back from the trash."""
    output = _output(request, output_id, Permission.OUTPUT_TRASH)
    restore_output(output=output, actor=request.actor)
    return _tile(request, output)


@require_POST
@workspace_page(Permission.PROJECT_MANAGE)
def output_project(request: WorkspaceRequest, output_id: str) -> HttpResponse:
    """Into the named project, or out of all."""
    output = _output(request, output_id, Permission.PROJECT_MANAGE)
    project_id = request.POST.get("project")
    project = project_id and get_project(
        request.actor,
        project_id,
        permission=Permission.PROJECT_MANAGE,
        workspace=request.workspace,
    )
    place_outputs(
        actor=request.actor,
        workspace=request.workspace,
        output_ids=[output.pk],
        project=project or None,
    )
    output.refresh_from_db(fields=["project"])
    return _tile(request, output)


def _tile(request: WorkspaceRequest, output: Output) -> HttpResponse:
    tile = output_tile(output)
    return render(request, "jobs/partials/tiles.html", {"tiles": [tile]})
