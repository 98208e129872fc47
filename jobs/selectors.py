"""Reads of jobs, pictures and agents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Case, Count, Q, QuerySet, When
from django.utils import timezone

from jobs.lifecycle import JOB_OPEN, AgentState, JobStatus
from jobs.models import Agent, Job, Output
from jobs.scheduling import Tier
from jobs.search import query_terms
from library.models import ModelVersion
from workspaces.models import Project, Workspace

PAGE_SIZE = 60
QUEUE_ROWS = 60
OTHERS_ROWS = 20
ENDED_ROWS = 5
FAILURES_SHOWN_FOR = timedelta(hours=1)
CANCELED_SHOWN_FOR = timedelta(minutes=10)
# What a tile shows of a picture.
TILE_RELATED = ("picture", "thumbnail", "job__model_version")


def live_agents() -> QuerySet[Agent]:
    """Agents that were heard of within a lease's time, also those that take nothing more."""
    limit = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return Agent.objects.filter(last_seen_at__gt=limit, removed_at=None)


def accepting_agents() -> QuerySet[Agent]:
    """Live agents that take work."""
    serving = AgentState.SERVING.value
    return live_agents().filter(state=serving, is_draining=False, sick_code="")


def count_agents() -> tuple[int, int]:
    """How many agents take work, and how many of them are warm."""
    ready = list(accepting_agents().values_list("is_ready", flat=True))
    return len(ready), sum(ready)


def warm_digests() -> set[str]:
    """Models that some agent holds which takes work."""
    return {digest for warm in accepting_agents().values_list("warm", flat=True) for digest in warm}


def visible_warm_digests() -> set[str]:
    """Warm models that the scope's organization can see."""
    visible = ModelVersion.objects.filter(digest__in=warm_digests())
    return set(visible.values_list("digest", flat=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What of a gallery is wanted: of a project, and with all words of the query in its prompt."""

    project: Project | None = None
    query: str = ""


EVERYTHING = Filters()


def matching_jobs(workspace: Workspace, filters: Filters) -> QuerySet[Job]:
    """Jobs of the workspace that the filters let through."""
    jobs = Job.objects.filter(workspace=workspace)
    if filters.project is not None:
        jobs = jobs.filter(project=filters.project)
    if filters.query.strip():
        terms = query_terms(workspace, filters.query)
        jobs = jobs.filter(search_terms__contains=terms) if terms else jobs.none()
    return jobs


def matching_outputs(
    workspace: Workspace, filters: Filters, *, is_trash: bool = False
) -> QuerySet[Output]:
    """Pictures of the gallery or the trash that the filters let through."""
    outputs = Output.objects.filter(workspace=workspace, trashed_at__isnull=not is_trash)
    if filters.project is not None:
        outputs = outputs.filter(project=filters.project)
    if filters.query.strip():
        terms = query_terms(workspace, filters.query)
        outputs = outputs.filter(job__search_terms__contains=terms) if terms else outputs.none()
    return outputs


def gallery_page(
    workspace: Workspace,
    *,
    before: str | None,
    is_trash: bool,
    filters: Filters = EVERYTHING,
    size: int = PAGE_SIZE,
) -> tuple[list[Output], str | None]:
    """Newest pictures first, and the key the next page starts before (None at the end)."""
    outputs = matching_outputs(workspace, filters, is_trash=is_trash)
    if before:
        outputs = outputs.filter(id__lt=before)
    page = list(outputs.select_related(*TILE_RELATED).order_by("-id")[: size + 1])
    is_more = len(page) > size
    return page[:size], page[size - 1].pk if is_more else None


def outputs_named(workspace: Workspace, output_ids: Sequence[str]) -> list[Output]:
    """Those of these pictures that are in the gallery, newest first."""
    outputs = Output.objects.filter(workspace=workspace, trashed_at=None, pk__in=output_ids)
    return list(outputs.select_related(*TILE_RELATED).order_by("-id"))


def running_jobs(workspace: Workspace) -> list[Job]:
    """What is being made, the oldest first."""
    return list(_jobs_in(workspace, JobStatus.RUNNING).order_by("id")[:QUEUE_ROWS])


def waiting_jobs(workspace: Workspace, user_id: str) -> tuple[list[Job], list[Job]]:
    """What the user has waiting, and what the others have; tier by tier, each in its order."""
    waiting = _jobs_in(workspace, JobStatus.QUEUED).order_by(
        by_urgency(), "position", "submitted_at", "id"
    )
    mine = waiting.filter(created_by_id=user_id)[:QUEUE_ROWS]
    return list(mine), list(waiting.exclude(created_by_id=user_id)[:OTHERS_ROWS])


def by_urgency() -> Case:
    """Jobs by tier, the most urgent first."""
    return Case(*(When(tier=tier.value, then=at) for at, tier in enumerate(Tier)), default=9)


def count_open(workspace: Workspace, user_id: str) -> tuple[int, int]:
    """How many jobs of the user wait or run in the workspace, and how many of everybody."""
    counted = Job.objects.filter(
        workspace=workspace, status__in=[status.value for status in JOB_OPEN]
    ).aggregate(mine=Count("pk", filter=Q(created_by_id=user_id)), total=Count("pk"))
    return counted["mine"], counted["total"]


def _jobs_in(workspace: Workspace, status: JobStatus) -> QuerySet[Job]:
    jobs = Job.objects.filter(workspace=workspace, status=status.value)
    return jobs.select_related("created_by", "workspace")


def agent_names(agent_ids: Collection[str]) -> dict[str, str]:
    """What these agents are called."""
    if not agent_ids:
        return {}
    return dict(Agent.objects.filter(pk__in=agent_ids).values_list("pk", "name"))


def outputs_of(job: Job) -> dict[int, Output]:
    """A job's pictures by index, trashed ones too."""
    outputs = Output.objects.filter(job=job).select_related(*TILE_RELATED)
    return {output.index: output for output in outputs}


def count_outputs(workspace: Workspace, *, is_trash: bool, filters: Filters = EVERYTHING) -> int:
    """How many pictures the gallery (or the trash) holds."""
    return matching_outputs(workspace, filters, is_trash=is_trash).count()


def projects_of(workspace: Workspace, *, with_archived: bool = False) -> list[Project]:
    """Projects of the workspace, the newest first, each with how many `pictures` are in it."""
    projects = Project.objects.select_related("workspace").filter(workspace=workspace)
    if not with_archived:
        projects = projects.filter(archived_at=None)
    counted = projects.annotate(pictures=Count("outputs", filter=Q(outputs__trashed_at=None)))
    return list(counted.order_by("-id"))


def recently_ended(workspace: Workspace, user_id: str) -> list[Job]:
    """The user's own jobs that failed or were canceled lately, so that a reload does not hide
    them; not those that were asked for again.
    """
    now = timezone.now()
    jobs = Job.objects.filter(workspace=workspace, created_by_id=user_id).filter(
        Q(status=JobStatus.FAILED.value, ended_at__gt=now - FAILURES_SHOWN_FOR)
        | Q(status=JobStatus.CANCELED.value, ended_at__gt=now - CANCELED_SHOWN_FOR)
    )
    ended = list(jobs.select_related("created_by", "workspace").order_by("-ended_at")[:QUEUE_ROWS])
    again = retried_of([job.pk for job in ended], user_id)
    return [job for job in ended if job.pk not in again][:ENDED_ROWS]


def retry_key(job_id: str) -> str:
    """Makes a second press of *Retry* find the job of the first."""
    return f"retry:{job_id}"


def retried_of(job_ids: Sequence[str], user_id: str) -> set[str]:
    """Those of these jobs that the user has asked for again."""
    keys = {retry_key(job_id): job_id for job_id in job_ids}
    known = Job.objects.filter(created_by_id=user_id, idempotency_key__in=keys)
    return {keys[key] for key in known.values_list("idempotency_key", flat=True) if key}


def made_counts(jobs: list[Job]) -> dict[str, int]:
    """How many pictures each job has so far."""
    made = Output.objects.filter(job__in=jobs).values_list("job_id").annotate(made=Count("id"))
    return dict(made)


def picture_counts(workspaces: list[Workspace]) -> dict[str, int]:
    """How many pictures each workspace has, those in the trash too."""
    outputs = Output.objects.filter(workspace__in=workspaces).values_list("workspace_id")
    return dict(outputs.annotate(total=Count("id")))
