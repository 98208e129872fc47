"""Telling sockets and the dispatcher that something changed, once it has committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import connection
from django.db.models import Count

from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, Output
from studio.core.doorbell import ring_on_commit
from workspaces.announcements import workspace_group

DISPATCH_CHANNEL = "studio_dispatch"
NO_JOBS = "-"
IDS_IN_A_NOTE = 200  # a note has less than 8,000 bytes
AGENTS_GROUP = "agents.all"


def announce_job(job: Job, status: JobStatus) -> None:
    """The job is in another state, or has one more picture."""
    outputs = Output.objects.filter(job=job).count()
    event = {
        "type": "job.changed",
        "job_id": job.pk,
        "status": status.value,
        "outputs": outputs,
    }
    ring_on_commit(workspace_group(job.workspace_id), event)


def announce_started(jobs: Sequence[Job]) -> None:
    """The same for many jobs that run now."""
    made = Output.objects.filter(job__in=[job.pk for job in jobs if job.fence > 1])
    counts = dict(made.values_list("job_id").annotate(outputs=Count("pk")).order_by())
    for job in jobs:
        event = {
            "type": "job.changed",
            "job_id": job.pk,
            "status": JobStatus.RUNNING.value,
            "outputs": counts.get(job.pk, 0),
        }
        ring_on_commit(workspace_group(job.workspace_id), event)


def announce_output(output: Output, *, is_trashed: bool) -> None:
    """A picture went to the trash or came back."""
    kind = "output.gone" if is_trashed else "output.restored"
    event = {"type": kind, "output_id": output.pk, "job_id": output.job_id}
    ring_on_commit(workspace_group(output.workspace_id), event)


def announce_cancel(agent: Agent, attempt_id: str) -> None:
    """Tell the agent's socket at once; its next heartbeat would tell it too."""
    ring_on_commit(agent.group, {"type": "attempt.cancel", "attempt_id": attempt_id})


def announce_yield(agent: Agent, attempt_id: str) -> None:
    """Ask for the rest of an attempt; the next heartbeat would ask, too."""
    ring_on_commit(agent.group, {"type": "attempt.yield", "attempt_id": attempt_id})


def announce_agents() -> None:
    """The fleet changed: pages show how many agents are warm."""
    ring_on_commit(AGENTS_GROUP, {"type": "agents.changed"})


def wake_dispatcher(*job_ids: str) -> None:
    """Postgres delivers this when the running transaction commits, and only then.

    The dispatcher looks at these jobs alone; at all that wait if none is named.
    """
    for start in range(0, len(job_ids) or 1, IDS_IN_A_NOTE):
        _notify(",".join(job_ids[start : start + IDS_IN_A_NOTE]))


def wake_dispatcher_for_agents() -> None:
    """Agents changed; no job did."""
    _notify(NO_JOBS)


def jobs_named_by(notes: Iterable[str]) -> set[str] | None:
    """The jobs that notes to the dispatcher name; None if one of them may mean any."""
    found: set[str] = set()
    for note in notes:
        if not note:
            return None
        if note != NO_JOBS:
            found.update(note.split(","))
    return found


def _notify(note: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [DISPATCH_CHANNEL, note])
