"""The REST API for programs. The page's own forms call the same services."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from typing_extensions import override

from accounts.authentication import TokenAuthentication
from accounts.roles import Permission
from gpuagent.protocol.families import families_with
from gpuagent.protocol.taxonomy import MODELS, SAMPLERS
from jobs import access
from jobs.api import serializers as shapes
from jobs.api.answering import KEY, NEW_JOB, PREFER, answer, answer_submitted
from jobs.api.common import BEFORE, PROJECT, QUERY, WORKSPACE, chosen_filters, workspace_of
from jobs.api.requests import JobRequestSerializer
from jobs.models import Output
from jobs.selectors import gallery_page, matching_jobs, warm_digests
from jobs.services.batches import draw_once
from jobs.services.cancellation import cancel_job
from jobs.services.outputs import rerun_output, restore_output, trash_output
from jobs.services.submission import submit_job
from jobs.services.upscaling import upscale_output
from jobs.waiting import stream_events
from library.presets import usable_presets
from library.selectors import usable_versions
from studio.core.errors import StudioError
from studio.core.openapi import ERRORS
from studio.core.parsing import json_object
from studio.core.scoping import organization_scope
from workspaces.api import OrganizationView

PAGE_SIZE = 50
TRASH = OpenApiParameter("trash", OpenApiTypes.BOOL, description="List the trash instead.")


class JobsView(OrganizationView):
    """Submit and list."""

    permissions = {"GET": Permission.JOB_VIEW, "POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="submit_job",
        request=JobRequestSerializer,
        parameters=[PREFER, KEY],
        responses=NEW_JOB,
    )
    def post(self, request: Request) -> Response:
        """Ask for pictures. 201 made a job, 200 found it by its key, 202 waited in vain."""
        raw = json_object(request)
        workspace = workspace_of(self, raw.pop("workspace", None), Permission.JOB_SUBMIT)
        key = request.headers.get("Idempotency-Key")
        project, tier = raw.pop("project", None), raw.pop("tier", None)
        choosing = raw.pop("alternatives", None)
        submitted = submit_job(
            actor=self.actor,
            workspace=workspace,
            project_id=project,
            tier=tier,
            raw=draw_once(workspace=workspace, raw=raw, choosing=choosing),
            idempotency_key=key,
        )
        return answer_submitted(request, submitted)

    @extend_schema(
        operation_id="list_jobs",
        parameters=[WORKSPACE, BEFORE, PROJECT, QUERY],
        responses={200: shapes.JobPageSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Jobs of a workspace, newest first."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.JOB_VIEW)
        filters = chosen_filters(self, request, workspace, Permission.JOB_VIEW)
        jobs = matching_jobs(workspace, filters).select_related("workspace").order_by("-id")
        if before := request.GET.get("before"):
            jobs = jobs.filter(id__lt=before)
        page = list(jobs[: PAGE_SIZE + 1])
        following = page[PAGE_SIZE - 1].pk if len(page) > PAGE_SIZE else None
        results = shapes.jobs_json(page[:PAGE_SIZE])
        return Response({"results": results, "next": following})


class JobView(OrganizationView):
    """One job."""

    permissions = {"GET": Permission.JOB_VIEW}

    @extend_schema(
        operation_id="get_job",
        parameters=[PREFER],
        responses={200: shapes.JobSerializer, 202: shapes.JobSerializer, **ERRORS},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """The job as it stands, or as it ends with `Prefer: wait`."""
        job = access.get_job(self.actor, job_id, permission=Permission.JOB_VIEW)
        return answer(request, job, status=200)


class JobCancelView(OrganizationView):
    """Cancel."""

    permissions = {"POST": Permission.JOB_CANCEL}

    @extend_schema(
        operation_id="cancel_job", request=None, responses={200: shapes.JobSerializer, **ERRORS}
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Stop within one step. A job that has ended stays as it is."""
        job = access.get_job(self.actor, job_id, permission=Permission.JOB_CANCEL)
        cancel_job(job=job, actor=self.actor)
        job.refresh_from_db()
        return Response(shapes.job_json(job))


def _still_sees(request: Request, job_id: str) -> bool:
    """Whether the request's token, read anew, would be shown the job at this moment."""
    try:
        found = TokenAuthentication().authenticate(request)
        if found is None:
            return False
        with organization_scope(found[1].organization_id):
            access.get_job(found[1], job_id, permission=Permission.JOB_VIEW)
    except StudioError:
        return False
    return True


class EventStreamRenderer(BaseRenderer):
    """Lets clients ask for `text/event-stream`; the stream itself is no rendered value."""

    media_type = "text/event-stream"
    format = "event-stream"

    @override
    def render(self, data: Any, *_rest: object) -> bytes:  # DRF's signature
        """Problems are the only values that get here."""
        return JSONRenderer().render(data)


class JobEventsView(OrganizationView):
    """Follow."""

    permissions = {"GET": Permission.JOB_VIEW}
    renderer_classes = [EventStreamRenderer, JSONRenderer]

    @extend_schema(
        operation_id="stream_job_events",
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **ERRORS},
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """Server-sent events `status` and `progress` until the job ends."""
        job = access.get_job(self.actor, job_id, permission=Permission.JOB_VIEW)
        stream = stream_events(job, lambda: _still_sees(request, job.pk))
        response = StreamingHttpResponse(stream, content_type="text/event-stream")
        response["X-Accel-Buffering"] = "no"
        return response


class OutputsView(OrganizationView):
    """Pictures."""

    permissions = {"GET": Permission.OUTPUT_VIEW}

    @extend_schema(
        operation_id="list_outputs",
        parameters=[WORKSPACE, BEFORE, TRASH, PROJECT, QUERY],
        responses={200: shapes.OutputPageSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Pictures of a workspace, newest first."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.OUTPUT_VIEW)
        outputs, following = gallery_page(
            workspace,
            before=request.GET.get("before"),
            is_trash=request.GET.get("trash", "").lower() in ("1", "true"),
            filters=chosen_filters(self, request, workspace, Permission.OUTPUT_VIEW),
            size=PAGE_SIZE,
        )
        results = [shapes.output_json(output) for output in outputs]
        return Response({"results": results, "next": following})


class OutputView(OrganizationView):
    """One picture."""

    permissions = {"GET": Permission.OUTPUT_VIEW, "DELETE": Permission.OUTPUT_TRASH}

    def _output(self, output_id: str, permission: Permission) -> Output:
        return access.get_output(self.actor, output_id, permission=permission)

    @extend_schema(
        operation_id="get_output", responses={200: shapes.OutputDetailSerializer, **ERRORS}
    )
    def get(self, request: Request, output_id: str) -> Response:
        """The picture with its manifest."""
        output = self._output(output_id, Permission.OUTPUT_VIEW)
        return Response(shapes.output_detail_json(output))

    @extend_schema(operation_id="trash_output", responses={204: None, **ERRORS})
    def delete(self, request: Request, output_id: str) -> Response:
        """Put it into the trash, from which it can be restored."""
        output = self._output(output_id, Permission.OUTPUT_TRASH)
        trash_output(output=output, actor=self.actor)
        return Response(status=204)


class OutputRestoreView(OrganizationView):
    """Bring back."""

    permissions = {"POST": Permission.OUTPUT_TRASH}

    @extend_schema(
        operation_id="restore_output",
        request=None,
        responses={200: shapes.OutputSerializer, **ERRORS},
    )
    def post(self, request: Request, output_id: str) -> Response:
        """Take it out of the trash."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_TRASH)
        restore_output(output=output, actor=self.actor)
        output.refresh_from_db(fields=["trashed_at"])
        return Response(shapes.output_json(output))


class OutputRerunView(OrganizationView):
    """Make again."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="rerun_output",
        request=shapes.RerunSerializer,
        parameters=[PREFER, KEY],
        responses=NEW_JOB,
    )
    def post(self, request: Request, output_id: str) -> Response:
        """A new job with the same recipe; on the same runtime its bytes are the same."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_VIEW)
        key = request.headers.get("Idempotency-Key")
        tier = json_object(request).get("tier")
        submitted = rerun_output(output=output, actor=self.actor, idempotency_key=key, tier=tier)
        return answer_submitted(request, submitted)


class OutputUpscaleView(OrganizationView):
    """Enlarge."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="upscale_output",
        request=shapes.UpscaleSerializer,
        parameters=[PREFER, KEY],
        responses=NEW_JOB,
    )
    def post(self, request: Request, output_id: str) -> Response:
        """A new job that makes the picture larger, ×2 or ×4."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_VIEW)
        said = json_object(request)
        submitted = upscale_output(
            output=output,
            actor=self.actor,
            scale=said.get("scale"),
            model=said.get("model"),
            refine=said.get("refine"),
            control=said.get("control"),
            tier=said.get("tier"),
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return answer_submitted(request, submitted)


class ModelsView(OrganizationView):
    """Models."""

    permissions = {"GET": Permission.MODEL_VIEW}

    @extend_schema(
        operation_id="list_models", responses={200: shapes.ModelSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """The newest version of every model the organization sees."""
        warm = warm_digests()
        models = [
            {
                "id": version.asset_id,
                "digest": version.digest,
                "name": version.asset.name,
                "kind": version.asset.kind,
                "architecture": version.architecture,
                "licence": version.asset.licence,
                "default_width": version.default_width,
                "default_height": version.default_height,
                "is_warm": version.digest in warm,
                "presets": usable_presets(version.asset.presets),
            }
            for kind in sorted(MODELS)
            for version in usable_versions(kind)
        ]
        return Response(models)


class SamplersView(OrganizationView):
    """Samplers."""

    permissions = {"GET": Permission.MODEL_VIEW}

    @extend_schema(
        operation_id="list_samplers",
        responses={200: shapes.SamplerSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Samplers by the names artists know."""
        return Response(
            [
                {"id": s.id, "label": s.label, "architectures": families_with(s.id)}
                for s in SAMPLERS.values()
            ]
        )
