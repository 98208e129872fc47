"""Maps for controls, shown before they are used: drawn at once, or by a network as a job."""

from __future__ import annotations

from django.http import JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.roles import Permission
from gpuagent.protocol.controls import MapRequest
from gpuagent.protocol.taxonomy import MAPPED
from jobs import access
from jobs.lifecycle import JOB_TERMINAL
from jobs.mapping import map_asked
from jobs.messages import failure_sentence
from jobs.selectors import outputs_of
from jobs.services.submission import submit_job
from jobs.upload_facts import upload_facts
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.services.maps import add_map
from workspaces.services.uploads import Upload

FIELDS = frozenset(MapRequest.__dataclass_fields__)
BY_NETWORKS = frozenset(kind.value for kind in MAPPED.values())


@require_POST
@workspace_page(Permission.UPLOAD_CREATE)
def draw_map(request: WorkspaceRequest) -> JsonResponse:
    """Draw the map of a picture of the workspace, to be seen or used. What a network makes is a
    job (202), and `state_url` says how it goes.
    """
    if request.POST.get("kind") in BY_NETWORKS:
        return _begun(request)
    asked = map_asked({name: value for name, value in request.POST.items() if name in FIELDS})
    drawn = add_map(actor=request.actor, workspace=request.workspace, asked=asked)
    return JsonResponse(upload_facts(Upload(picture=drawn, mask=None)), status=201)


def _begun(request: WorkspaceRequest) -> JsonResponse:
    said = {name: request.POST.get(name) for name in ("image", "width", "height")}
    raw = {**said, "map_kind": request.POST.get("kind"), "model": request.POST.get("mapper")}
    job = submit_job(actor=request.actor, workspace=request.workspace, raw=raw).job
    state = reverse("job-map", args=[request.workspace.pk, job.pk])
    return JsonResponse({"state_url": state}, status=202)


@require_GET
@workspace_page(Permission.JOB_VIEW)
def job_map(request: WorkspaceRequest, job_id: str) -> JsonResponse:
    """How far a map is. Once it is there, `start_url` makes it a picture that jobs can use."""
    job = access.get_job(
        request.actor, job_id, permission=Permission.JOB_VIEW, workspace=request.workspace
    )
    made = next(iter(outputs_of(job).values()), None)
    answer = {
        "is_over": job.status in JOB_TERMINAL,
        "start_url": reverse("output-start", args=[job.workspace_id, made.pk]) if made else "",
        "message": failure_sentence(job.error_code, job.error_data) if job.error_code else "",
    }
    response = JsonResponse(answer)
    response["Cache-Control"] = "no-store"
    return response
