"""Changing the state of jobs and attempts: compare-and-set, then announce."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from jobs.announcements import announce_job, wake_dispatcher
from jobs.lifecycle import (
    TOO_LARGE,
    AttemptStatus,
    JobStatus,
    after_attempt_ends,
    counts_against_job,
    sources_of,
)
from jobs.models import Agent, Job, JobAttempt
from jobs.selectors import accepting_agents
from jobs.services.recording import record_run, sane_timings

COUNTED = "counted"
"""In an attempt's `error_data`: it uses up one of its job's tries; false once that was forgiven."""

_ENDS = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED}


def move_job(job: Job, target: JobStatus, **changes: Any) -> bool:  # noqa: ANN401  # column values
    """Move the job if it is in a state that allows it; False if somebody was quicker."""
    sources = [status.value for status in sources_of(target)]
    if target in _ENDS:
        changes.setdefault("ended_at", timezone.now())
    moved = Job.objects.filter(pk=job.pk, status__in=sources).update(status=target.value, **changes)
    if moved:
        announce_job(job, target)
        if target is not JobStatus.RUNNING:  # that one comes from the dispatcher itself
            wake_dispatcher(job.pk)
    return bool(moved)


def move_attempt(attempt: JobAttempt, target: AttemptStatus, **changes: Any) -> bool:  # noqa: ANN401  # column values
    """Move the attempt if it is in a state that allows it and its fence still holds."""
    sources = [status.value for status in sources_of(target)]
    return bool(
        JobAttempt.objects.filter(pk=attempt.pk, fence=attempt.fence, status__in=sources).update(
            status=target.value, **changes
        )
    )


def end_attempt(
    attempt: JobAttempt,
    target: AttemptStatus,
    *,
    failure: FailureCode | None = None,
    data: dict[str, object] | None = None,
    timings: dict[str, object] | None = None,
    is_blameless: bool = False,
) -> bool:
    """End an attempt and decide what becomes of its job; False if it had ended already.

    `is_blameless`: whatever happened, it was not this job's doing.
    """
    code, now = failure.value if failure else "", timezone.now()
    measured = sane_timings(timings or {})
    # What no agent has claimed cannot be the job's fault: the broker was away, or the agent left.
    was_claimed = attempt.claimed_at is not None or target is not AttemptStatus.EXPIRED
    is_bad = target is not AttemptStatus.SUCCEEDED and counts_against_job(failure, target)
    counts = is_bad and was_claimed and not is_blameless
    ended = move_attempt(
        attempt,
        target,
        ended_at=now,
        error_code=code,
        error_data={**(data or {}), **({COUNTED: True} if counts else {})},
        timings=measured,
    )
    if not ended:
        return False
    job = Job.objects.select_for_update().get(pk=attempt.job_id)
    record_run(attempt, job, status=target, error_code=code, timings=measured, ended_at=now)
    counted = job.attempts_counted + int(counts)
    fits_elsewhere = failure in TOO_LARGE and _is_there_a_larger(attempt.agent)
    next_status = after_attempt_ends(
        target,
        failure,
        counted,
        cancel_requested=job.cancel_requested_at is not None,
        fits_elsewhere=fits_elsewhere,
    )
    changes = {"memory_bytes": attempt.agent.memory_bytes + 1} if fits_elsewhere else {}
    error = {"error_code": code or "", "error_data": data or {}}
    if next_status is JobStatus.FAILED and not code:
        error["error_code"] = FailureCode.AGENT_LOST.value
    if next_status is not JobStatus.FAILED:
        error = {"error_code": "", "error_data": {}}
    move_job(job, next_status, attempts_counted=counted, **error, **changes)
    return True


def _is_there_a_larger(agent: Agent) -> bool:
    """Whether the job could go where there is more memory than it has just found too little."""
    return accepting_agents().filter(memory_bytes__gt=agent.memory_bytes).exists()


@transaction.atomic
def fail_job(job_id: str, code: FailureCode, data: dict[str, int | str] | None = None) -> bool:
    """Fail a queued job without an attempt; False if it is not queued any more."""
    job = Job.objects.select_for_update().filter(pk=job_id, status=JobStatus.QUEUED.value).first()
    return job is not None and move_job(
        job, JobStatus.FAILED, error_code=code.value, error_data=data or {}
    )
