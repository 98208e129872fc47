"""The queue for programs: pause, resume, reorder, ask again; what a request would cost."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from jobs import access
from jobs.api import serializers as shapes
from jobs.api.answering import KEY, NEW_JOB, PREFER, answer_submitted
from jobs.api.common import workspace_of
from jobs.api.requests import JobRequestSerializer
from jobs.forecast import make_forecast
from jobs.models import Job
from jobs.services.ordering import (
    chosen_move,
    move_beside,
    move_in_line,
    pause_job,
    resume_job,
)
from jobs.services.retrying import retry_job
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.api import OrganizationView

# What is beside the recipe in a job request and has no bearing on its cost.
BESIDE = ("project", "tier", "alternatives")


class _SteeringView(OrganizationView):
    """Of a job that waits."""

    permissions = {"POST": Permission.JOB_CANCEL}

    def _job(self, job_id: str) -> Job:
        return access.get_job(self.actor, job_id, permission=Permission.JOB_CANCEL)

    def _as_it_stands(self, job: Job) -> Response:
        job.refresh_from_db()
        [body] = shapes.jobs_json([job])
        return Response(body)


class JobPauseView(_SteeringView):
    """Pause."""

    @extend_schema(
        operation_id="pause_job",
        request=None,
        responses={200: shapes.JobSerializer, **ERRORS, 409: PROBLEM},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Take a waiting job out of the line. Paused already: no change."""
        job = self._job(job_id)
        pause_job(job=job, actor=self.actor)
        return self._as_it_stands(job)


class JobResumeView(_SteeringView):
    """Resume."""

    @extend_schema(
        operation_id="resume_job",
        request=None,
        responses={200: shapes.JobSerializer, **ERRORS, 409: PROBLEM},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Put a paused job back into its place. Not paused: no change."""
        job = self._job(job_id)
        resume_job(job=job, actor=self.actor)
        return self._as_it_stands(job)


class JobMoveView(_SteeringView):
    """Reorder."""

    @extend_schema(
        operation_id="move_job",
        request=shapes.MoveSerializer,
        responses={200: shapes.JobSerializer, **BAD_INPUT, 409: PROBLEM},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Another place in its owner's line: first, last, up, down, or beside another job."""
        job, body = self._job(job_id), json_object(request)
        before, after = str(body.get("before") or ""), str(body.get("after") or "")
        if before or after:
            move_beside(job=job, actor=self.actor, before=before, after=after)
        else:
            move_in_line(job=job, actor=self.actor, to=chosen_move(body.get("to")))
        return self._as_it_stands(job)


class JobRetryView(OrganizationView):
    """Ask again."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="retry_job",
        request=None,
        parameters=[PREFER, KEY],
        responses={**NEW_JOB, 409: PROBLEM},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """A new job like one that failed or was canceled. Again: the job made then (200)."""
        job = access.get_job(self.actor, job_id, permission=Permission.JOB_SUBMIT)
        key = request.headers.get("Idempotency-Key")
        submitted = retry_job(job=job, actor=self.actor, idempotency_key=key)
        return answer_submitted(request, submitted)


class ForecastView(OrganizationView):
    """What a request would cost."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="forecast",
        request=JobRequestSerializer,
        responses={200: shapes.ForecastSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """GPU seconds, and by tier the place and the wait. Takes a job request; makes no job."""
        raw = json_object(request)
        workspace = workspace_of(self, raw.pop("workspace", None), Permission.JOB_SUBMIT)
        recipe = {name: value for name, value in raw.items() if name not in BESIDE}
        made = make_forecast(actor=self.actor, workspace=workspace, raw=recipe)
        return Response(shapes.forecast_json(made))
