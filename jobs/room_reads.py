"""What sockets read from Postgres, in threads of their own.

Channels would run all of it in one thread of the process, shared by all sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async
from django.db.models import Count

from jobs.lifecycle import JOB_OPEN
from jobs.models import Job, JobAttempt
from jobs.selectors import count_agents, visible_warm_digests
from studio.core.scoping import organization_scope, system_scope
from workspaces.services.keys import data_key

THREADS = 4
OPEN_MAX = 500
_team = ThreadPoolExecutor(THREADS, thread_name_prefix="socket")
P = ParamSpec("P")
R = TypeVar("R")


def in_thread(read: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The same, awaited, in a thread that keeps its connection to the database."""
    hop = database_sync_to_async(read, thread_sensitive=False, executor=_team)
    return cast("Callable[P, Coroutine[Any, Any, R]]", hop)


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that waits or runs."""

    id: str
    status: str
    count: int
    outputs: int


def open_jobs(workspace_id: str, organization_id: str) -> list[OpenJob]:
    """Of a workspace, the oldest first."""
    with organization_scope(organization_id):
        statuses = [status.value for status in JOB_OPEN]
        jobs = Job.objects.filter(workspace_id=workspace_id, status__in=statuses)
        rows = jobs.annotate(made=Count("outputs")).order_by("id")
        return [
            OpenJob(*row) for row in rows.values_list("pk", "status", "count", "made")[:OPEN_MAX]
        ]


def states_now(job_ids: Sequence[str]) -> list[tuple[str, str, int]]:
    """Id, status and number of pictures of jobs of any organization."""
    if not job_ids:
        return []
    with system_scope():
        jobs = Job.objects.filter(pk__in=job_ids).annotate(made=Count("outputs"))
        return list(jobs.values_list("pk", "status", "made"))


def agents_now(organization_id: str) -> dict[str, object]:
    """How many agents take work and are warm, and which models they hold that it may see."""
    with organization_scope(organization_id):
        connected, warm = count_agents()
        digests = sorted(visible_warm_digests())
    return {"type": "agents", "connected": connected, "warm": warm, "digests": digests}


def preview_key(attempt_id: str, workspace_id: str, organization_id: str) -> bytes | None:
    """What previews of an attempt are sealed with; None if it is none of the workspace's."""
    with organization_scope(organization_id):
        attempt = (
            JobAttempt.objects.select_related("job__workspace")
            .filter(pk=attempt_id, job__workspace_id=workspace_id)
            .first()
        )
        if attempt is None:
            return None
        return data_key(attempt.job.workspace, attempt.wrapped_preview_key)
