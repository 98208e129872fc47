"""Answering with a job: at once, or when it has ended if the request prefers that."""

from __future__ import annotations

import re
import threading

from asgiref.sync import async_to_sync
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import serializers as shapes
from jobs.lifecycle import JOB_TERMINAL, JobStatus
from jobs.models import Job
from jobs.services.submission import Submitted
from jobs.waiting import wait_until_ended
from studio.core.openapi import BAD_INPUT

WAIT_MAX_SECONDS = 60
WAITERS_MAX = 20  # each keeps one of the threads that answer people
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")
_waiters = threading.BoundedSemaphore(WAITERS_MAX)

PREFER = OpenApiParameter(
    "Prefer",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=f"`wait=30` waits up to so many seconds (at most {WAIT_MAX_SECONDS}) for the end.",
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The same key again answers with the same job instead of making another.",
)

# What a request for a new job is answered with: there already, new, or not ended in time.
NEW_JOB = {
    200: shapes.JobSerializer,
    201: shapes.JobSerializer,
    202: shapes.JobSerializer,
    **BAD_INPUT,
}


def _wait(job: Job, seconds: int) -> bool:
    """Whether there was room to wait for the job's end.

    A preference may be ignored (RFC 7240): when too many wait, the answer is 202 at once.
    """
    if not _waiters.acquire(blocking=False):
        return False
    try:
        async_to_sync(wait_until_ended)(job, seconds=seconds)
        return True
    finally:
        _waiters.release()


def answer(request: Request, job: Job, *, status: int) -> Response:
    """The job, after waiting for its end if the request prefers that."""
    match = _WAIT.search(request.headers.get("Prefer", ""))
    headers = {"Location": f"/api/v1/jobs/{job.pk}"}
    if match:
        seconds = min(int(match.group(1)), WAIT_MAX_SECONDS)
        if _wait(job, seconds):
            headers["Preference-Applied"] = f"wait={seconds}"
        job.refresh_from_db()
        if JobStatus(job.status) not in JOB_TERMINAL:
            status = 202
    [body] = shapes.jobs_json([job])
    return Response(body, status=status, headers=headers)


def answer_submitted(request: Request, submitted: Submitted) -> Response:
    """The same for a job that was just asked for: 201, or 200 if its key was known."""
    return answer(request, submitted.job, status=201 if submitted.is_new else 200)
