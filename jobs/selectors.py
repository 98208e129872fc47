"""Reads of jobs, pictures and agents."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from jobs.lifecycle import JOB_OPEN
from jobs.models import Agent, Job, Output
from studio.core.scoping import system_scope
from workspaces.models import Workspace

PAGE_SIZE = 60


def live_agents() -> QuerySet[Agent]:
    """Agents that were heard of within a lease's time."""
    limit = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return Agent.objects.filter(last_seen_at__gt=limit)


def count_agents() -> tuple[int, int]:
    """How many agents are connected, and how many of them are warm."""
    ready = list(live_agents().values_list("is_ready", flat=True))
    return len(ready), sum(ready)


def warm_digests() -> set[str]:
    """Models that some live agent holds."""
    return {digest for warm in live_agents().values_list("warm", flat=True) for digest in warm}


def gallery_page(
    workspace: Workspace, *, before: str | None, is_trash: bool, size: int = PAGE_SIZE
) -> tuple[list[Output], str | None]:
    """Newest pictures first, and the key the next page starts before (None at the end)."""
    outputs = Output.objects.filter(workspace=workspace, trashed_at__isnull=not is_trash)
    if before:
        outputs = outputs.filter(id__lt=before)
    page = list(outputs.select_related("picture", "thumbnail", "job").order_by("-id")[: size + 1])
    is_more = len(page) > size
    return page[:size], page[size - 1].pk if is_more else None


def open_jobs(workspace: Workspace) -> list[Job]:
    """Queued and running jobs, newest first."""
    statuses = [status.value for status in JOB_OPEN]
    jobs = Job.objects.filter(workspace=workspace, status__in=statuses)
    return list(jobs.select_related("created_by", "workspace").order_by("-id")[:200])


def outputs_of(job: Job) -> dict[int, Output]:
    """A job's pictures by index, trashed ones too."""
    outputs = Output.objects.filter(job=job).select_related("picture", "thumbnail")
    return {output.index: output for output in outputs}


def count_outputs(workspace: Workspace, *, is_trash: bool) -> int:
    """How many pictures the gallery (or the trash) holds."""
    return Output.objects.filter(workspace=workspace, trashed_at__isnull=not is_trash).count()


def jobs_ahead(job: Job) -> int:
    """How many queued jobs of the whole installation were submitted before; a rough position."""
    with system_scope():
        return Job.objects.filter(status="queued", submitted_at__lt=job.submitted_at).count()
