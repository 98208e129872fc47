"""Telling sockets and the dispatcher that something changed, once it has committed."""

from __future__ import annotations

from django.db import connection

from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, Output
from studio.core.doorbell import ring_on_commit
from workspaces.announcements import workspace_group

DISPATCH_CHANNEL = "studio_dispatch"
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


def announce_output(output: Output, *, is_trashed: bool) -> None:
    """A picture went to the trash or came back."""
    kind = "output.gone" if is_trashed else "output.restored"
    event = {"type": kind, "output_id": output.pk, "job_id": output.job_id}
    ring_on_commit(workspace_group(output.workspace_id), event)


def announce_cancel(agent: Agent, attempt_id: str) -> None:
    """Tell the agent's socket at once; its next heartbeat would tell it too."""
    ring_on_commit(agent.group, {"type": "attempt.cancel", "attempt_id": attempt_id})


def announce_agents() -> None:
    """The fleet changed: pages show how many agents are warm."""
    ring_on_commit(AGENTS_GROUP, {"type": "agents.changed"})


def wake_dispatcher() -> None:
    """Postgres delivers this when the running transaction commits, and only then."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [DISPATCH_CHANNEL])
