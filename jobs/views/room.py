"""The room: submitting, the queue, the gallery."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.http import has_session, sign_in_again, signed_in, takes_large_body
from accounts.policy import reachable_organizations
from accounts.roles import Permission
from gpuagent.protocol.recipe import Recipe
from jobs import access
from jobs.drawer import queue_row
from jobs.presenters import (
    gallery_context,
    job_tiles,
    room_context,
)
from jobs.recipes import for_form, open_recipe
from jobs.selectors import Filters, outputs_of
from jobs.services.batches import Batch, plan_batch, submit_batch
from jobs.services.cancellation import cancel_job
from jobs.upload_facts import upload_facts
from studio.core.errors import SignOnEndedError
from workspaces.access import get_project
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.selectors import rooms_of, workspaces_of
from workspaces.services.uploads import (
    Upload,
    add_upload,
    add_upload_from_address,
    content_of,
)

FIELDS = frozenset(Recipe.__dataclass_fields__)


def _email(request: HttpRequest) -> str:
    return str(getattr(request.user, "email", ""))


@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """On to the first workspace the person can reach."""
    user_id = str(request.user.pk)
    among = reachable_organizations(request.session, user_id)
    if among is not None and not among:
        return sign_in_again(request, SignOnEndedError())
    workspaces = workspaces_of(user_id, among=among)
    if workspaces:
        return HttpResponseRedirect(f"/w/{workspaces[0].pk}/")
    for rooms in rooms_of(user_id, among=among):
        if rooms.can_manage:
            return redirect("workspaces", rooms.organization.pk)
    message = "You are in no workspace yet. Ask an admin of your organization to invite you."
    context = {"title": "No workspace", "message": message, "code": 403}
    return render(request, "error.html", context, status=403)


@require_safe
@workspace_page(Permission.WORKSPACE_VIEW)
def room(request: WorkspaceRequest) -> HttpResponse:
    """The room of a workspace."""
    context = room_context(request.workspace, request.actor, _email(request))
    return render(request, "jobs/room.html", context)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def job_submit(request: WorkspaceRequest) -> HttpResponse:
    """Submit the form: tiles at once (201), or what is wrong with which field (422)."""
    submitted = submit_batch(
        actor=request.actor,
        workspace=request.workspace,
        batch=_batch(request),
        project_id=request.POST.get("project"),
        tier=request.POST.get("tier"),
        idempotency_key=request.POST.get("idempotency_key") or None,
    )
    if not request.headers.get("HX-Request"):  # pressed before the scripts were there
        return redirect("room", request.workspace.pk)
    tiles = [tile for made in submitted for tile in job_tiles(made.job, request.actor)]
    status = 201 if any(made.is_new for made in submitted) else 200
    return render(request, "jobs/partials/tiles.html", {"tiles": tiles}, status=status)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def alternatives(request: WorkspaceRequest) -> JsonResponse:
    """How many pictures the form would make. Prompts are posted: addresses are logged."""
    batch = _batch(request)
    answer = {"varies": batch.varies, "jobs": len(batch.requests), "pictures": batch.pictures}
    return JsonResponse(answer)


def _batch(request: WorkspaceRequest) -> Batch:
    return plan_batch(
        actor=request.actor,
        workspace=request.workspace,
        raw={name: value for name, value in request.POST.items() if name in FIELDS},
        choosing=request.POST.get("alternatives"),
    )


@require_GET
@workspace_page(Permission.JOB_VIEW)
def job_tiles_view(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """The tiles of a job as they stand."""
    job = access.get_job(
        request.actor, job_id, permission=Permission.JOB_VIEW, workspace=request.workspace
    )
    tiles = job_tiles(job, request.actor)
    return render(request, "jobs/partials/tiles.html", {"tiles": tiles})


@require_GET
@workspace_page(Permission.OUTPUT_VIEW)
def job_parameters(request: WorkspaceRequest, job_id: str) -> JsonResponse:
    """A job's recipe, for *Use parameters* on a tile that has no picture."""
    job = access.get_job(
        request.actor, job_id, permission=Permission.OUTPUT_VIEW, workspace=request.workspace
    )
    return JsonResponse({"recipe": for_form(open_recipe(job))})


@require_POST
@workspace_page(Permission.JOB_CANCEL)
def job_cancel(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """Cancel; pressing twice, or too late, is fine."""
    job = access.get_job(
        request.actor, job_id, permission=Permission.JOB_CANCEL, workspace=request.workspace
    )
    cancel_job(job=job, actor=request.actor)
    job.refresh_from_db()
    row = queue_row(job, request.actor, done=len(outputs_of(job)))
    return render(request, "jobs/partials/queue_row.html", {"row": row})


@require_http_methods(["GET", "POST"])
@workspace_page(Permission.OUTPUT_VIEW)
def gallery(request: WorkspaceRequest) -> HttpResponse:
    """A page of the gallery, older than `before`. What is searched for is posted: no address
    of a page holds words of prompts.
    """
    asked = request.POST if request.method == "POST" else request.GET
    project_id = asked.get("project")
    project = project_id and get_project(
        request.actor,
        project_id,
        permission=Permission.OUTPUT_VIEW,
        workspace=request.workspace,
    )
    context = gallery_context(
        request.workspace,
        before=asked.get("before"),
        is_trash=asked.get("trash") == "1",
        filters=Filters(project=project or None, query=request.POST.get("q", "")),
    )
    return render(request, "jobs/partials/gallery.html", context)


@takes_large_body(settings.UPLOAD_MAX_BYTES, admits=has_session)
@require_POST
@workspace_page(Permission.UPLOAD_CREATE)
def upload(request: WorkspaceRequest) -> JsonResponse:
    """Add a starting picture."""
    content = content_of(next(iter(request.FILES.values()), None))
    return _uploaded(add_upload(actor=request.actor, workspace=request.workspace, content=content))


@require_POST
@workspace_page(Permission.UPLOAD_CREATE)
def upload_from_address(request: WorkspaceRequest) -> JsonResponse:
    """Add a starting picture that lies on the web."""
    address = request.POST.get("url", "")
    return _uploaded(
        add_upload_from_address(actor=request.actor, workspace=request.workspace, address=address)
    )


def _uploaded(upload: Upload) -> JsonResponse:
    return JsonResponse(upload_facts(upload), status=201)
