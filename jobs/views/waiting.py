"""What artists do with the queue, and what they are told before they press the button."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from accounts.roles import Permission
from jobs import access
from jobs.drawer import queue_context
from jobs.forecast import make_forecast
from jobs.models import Job
from jobs.presenters import job_tiles
from jobs.services.ordering import chosen_move, move_beside, move_in_line, pause_job, resume_job
from jobs.services.retrying import retry_job
from jobs.wording import forecast_words
from workspaces.http import WorkspaceRequest, workspace_page

# What of the form has a bearing on cost. Prompts are not asked for: addresses are logged.
COSTLY = frozenset(
    {
        "model",
        "width",
        "height",
        "num_inference_steps",
        "guidance_scale",
        "sampler",
        "num_images_per_prompt",
        "strength",
        "guidance_end",
        "hires_scale",
        "hires_strength",
        "hires_steps",
        "hires_tile",
    }
)
ANY_PICTURE = "0" * 64


@require_GET
@workspace_page(Permission.JOB_SUBMIT)
def forecast(request: WorkspaceRequest) -> JsonResponse:
    """What pressing the button would mean. `image=1` stands for a starting picture."""
    raw: dict[str, object] = {k: v for k, v in request.GET.items() if k in COSTLY and v}
    if request.GET.get("image"):
        raw["image"] = ANY_PICTURE
    else:
        raw.pop("strength", None)
    made = make_forecast(actor=request.actor, workspace=request.workspace, raw=raw)
    response = JsonResponse(forecast_words(made))
    response["Cache-Control"] = "no-store"
    return response


@require_GET
@workspace_page(Permission.JOB_VIEW)
def queue(request: WorkspaceRequest) -> HttpResponse:
    """The queue drawer."""
    drawer = queue_context(request.workspace, request.actor)
    return render(request, "jobs/partials/queue.html", {"queue": drawer})


@require_POST
@workspace_page(Permission.JOB_CANCEL)
def job_pause(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """Out of the line for a while; pressing twice is fine."""
    pause_job(job=_job(request, job_id), actor=request.actor)
    return HttpResponse(status=204)


@require_POST
@workspace_page(Permission.JOB_CANCEL)
def job_resume(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """Back into the line; pressing twice is fine."""
    resume_job(job=_job(request, job_id), actor=request.actor)
    return HttpResponse(status=204)


@require_POST
@workspace_page(Permission.JOB_CANCEL)
def job_move(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """Another place in one's own line: `to`, or `before` or `after` another job."""
    job = _job(request, job_id)
    before, after = request.POST.get("before", ""), request.POST.get("after", "")
    if before or after:
        move_beside(job=job, actor=request.actor, before=before, after=after)
    else:
        move_in_line(job=job, actor=request.actor, to=chosen_move(request.POST.get("to")))
    return HttpResponse(status=204)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def job_retry(request: WorkspaceRequest, job_id: str) -> HttpResponse:
    """The same once more: tiles of the new job (201), or of the one that a press before made."""
    job = access.get_job(
        request.actor, job_id, permission=Permission.JOB_SUBMIT, workspace=request.workspace
    )
    submitted = retry_job(job=job, actor=request.actor)
    tiles = job_tiles(submitted.job, request.actor)
    status = 201 if submitted.is_new else 200
    return render(request, "jobs/partials/tiles.html", {"tiles": tiles}, status=status)


def _job(request: WorkspaceRequest, job_id: str) -> Job:
    return access.get_job(
        request.actor, job_id, permission=Permission.JOB_CANCEL, workspace=request.workspace
    )
