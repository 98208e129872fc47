"""Waiting for a job: until it ends, or event by event. Doorbell first, Postgres for the truth."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from jobs.lifecycle import JOB_TERMINAL, JobStatus
from jobs.models import Job, Output
from jobs.progress import get_progress
from studio.core.scoping import organization_scope
from studio.core.stopping import is_stopping
from workspaces.announcements import workspace_group

RECHECK_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 15.0
ASK_SECONDS = 60.0


def _state(organization_id: str, job_id: str) -> tuple[JobStatus, int]:
    with organization_scope(organization_id):
        status = Job.objects.values_list("status", flat=True).get(pk=job_id)
        return JobStatus(status), Output.objects.filter(job_id=job_id).count()


async def _events(workspace_id: str, job_id: str) -> AsyncGenerator[dict[str, object] | None, None]:
    """Rings about the job; None at least every `RECHECK_SECONDS`, since a ring may be lost.

    They end when the process is about to.
    """
    layer = get_channel_layer()
    channel = await layer.new_channel()
    group = workspace_group(workspace_id)
    await layer.group_add(group, channel)
    try:
        yield None
        while not is_stopping.is_set():
            try:
                event = await asyncio.wait_for(layer.receive(channel), RECHECK_SECONDS)
            except TimeoutError:
                yield None
                continue
            if event.get("job_id") == job_id:
                yield event
    finally:
        await layer.group_discard(group, channel)


async def wait_until_ended(job: Job, *, seconds: float) -> bool:
    """Wait at most so long for the job to end; whether it has."""
    read = database_sync_to_async(_state)
    try:
        async with asyncio.timeout(seconds):
            async with aclosing(_events(job.workspace_id, job.pk)) as events:
                async for _event in events:
                    status, _outputs = await read(job.organization_id, job.pk)
                    if status in JOB_TERMINAL:
                        return True
    except TimeoutError:
        pass
    return False


def _encode(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def stream_events(job: Job, may_stay: Callable[[], bool]) -> AsyncIterator[str]:
    """Server-sent events of one job: `status` at every change, `progress` between, then the end.

    Once a minute it is asked whether who listens may still; it ends without a word if not.
    """
    read, ask = database_sync_to_async(_state), database_sync_to_async(may_stay)
    asked_at = time.monotonic()
    said: tuple[JobStatus, int] | None = None
    quiet = 0.0
    async with aclosing(_events(job.workspace_id, job.pk)) as events:
        async for event in events:
            if time.monotonic() - asked_at >= ASK_SECONDS:
                asked_at = time.monotonic()
                if not await ask():
                    return
            if event is not None and event["type"] == "job.progress":
                progress = await get_progress(job.pk)
                if progress is not None:
                    numbers: dict[str, object] = {
                        "index": progress.index,
                        "step": progress.step,
                        "steps": progress.steps,
                    }
                    yield _encode("progress", numbers)
                continue
            state = await read(job.organization_id, job.pk)
            quiet = quiet + RECHECK_SECONDS if event is None else 0.0
            if state != said:
                said = state
                status, outputs = state
                yield _encode("status", {"id": job.pk, "status": status.value, "outputs": outputs})
            elif quiet >= KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"
            if state[0] in JOB_TERMINAL:
                return
