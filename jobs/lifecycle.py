"""The states of a job and of an attempt, and the only ways from one to another.

Pure: callers do the compare-and-set (`filter(status__in=sources_of(target)).update(...)`).
Losing that race is normal; a terminal status is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import overload

from gpuagent.protocol.failures import RETRYABLE, FailureCode

MAX_ATTEMPTS = 3
# Failures of memory: an agent with more of it may do better.
TOO_LARGE = frozenset({FailureCode.OUT_OF_MEMORY, FailureCode.DOES_NOT_FIT})


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class AgentState(StrEnum):
    """What operators want of an agent. Draining: finish, take nothing more. Maintenance: stays out
    until somebody says otherwise, whatever restarts.
    """

    SERVING = "serving"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"


class AttemptStatus(StrEnum):
    LEASED = "leased"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


_JOB_ENDS = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
_ATTEMPT_ENDS = frozenset(
    {
        AttemptStatus.SUCCEEDED,
        AttemptStatus.FAILED,
        AttemptStatus.CANCELED,
        AttemptStatus.EXPIRED,
    }
)

JOB_TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELED}),
        JobStatus.RUNNING: frozenset({JobStatus.QUEUED}) | _JOB_ENDS,
        JobStatus.SUCCEEDED: frozenset(),
        JobStatus.FAILED: frozenset(),
        JobStatus.CANCELED: frozenset(),
    }
)

ATTEMPT_TRANSITIONS: Mapping[AttemptStatus, frozenset[AttemptStatus]] = MappingProxyType(
    {
        # A report of the end may overtake the report of the start: leased may end at once.
        AttemptStatus.LEASED: frozenset({AttemptStatus.RUNNING}) | _ATTEMPT_ENDS,
        AttemptStatus.RUNNING: _ATTEMPT_ENDS,
        AttemptStatus.SUCCEEDED: frozenset(),
        AttemptStatus.FAILED: frozenset(),
        AttemptStatus.CANCELED: frozenset(),
        AttemptStatus.EXPIRED: frozenset(),
    }
)

JOB_TERMINAL = _JOB_ENDS
JOB_OPEN = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
ATTEMPT_TERMINAL = _ATTEMPT_ENDS
ATTEMPT_OPEN = frozenset({AttemptStatus.LEASED, AttemptStatus.RUNNING})


@overload
def sources_of(target: JobStatus) -> frozenset[JobStatus]: ...
@overload
def sources_of(target: AttemptStatus) -> frozenset[AttemptStatus]: ...
def sources_of(
    target: JobStatus | AttemptStatus,
) -> frozenset[JobStatus] | frozenset[AttemptStatus]:
    """The statuses from which `target` may be entered."""
    if isinstance(target, JobStatus):
        return frozenset(status for status, after in JOB_TRANSITIONS.items() if target in after)
    return frozenset(status for status, after in ATTEMPT_TRANSITIONS.items() if target in after)


@overload
def can_move(source: JobStatus, target: JobStatus) -> bool: ...
@overload
def can_move(source: AttemptStatus, target: AttemptStatus) -> bool: ...
def can_move(source: JobStatus | AttemptStatus, target: JobStatus | AttemptStatus) -> bool:
    if isinstance(source, JobStatus):
        return target in JOB_TRANSITIONS[source]
    return target in ATTEMPT_TRANSITIONS[source]


def counts_against_job(
    failure_code: FailureCode | None, attempt_status: AttemptStatus = AttemptStatus.FAILED
) -> bool:
    """Whether the ended attempt uses up one of the job's tries.

    An agent that says it is leaving (`agent.lost`: drained, spot notice) is not the job's fault,
    nor is it that something more urgent came (`agent.yielded`).
    A lease that ran out in silence counts, or a job that kills its agent would be tried forever.
    """
    if attempt_status is AttemptStatus.EXPIRED:
        return True
    return failure_code not in (FailureCode.AGENT_LOST, FailureCode.YIELDED)


def after_attempt_ends(
    attempt_status: AttemptStatus,
    failure_code: FailureCode | None,
    attempts_counted: int,
    cancel_requested: bool,
    *,
    fits_elsewhere: bool = False,
) -> JobStatus:
    """What the job becomes; `attempts_counted` are its counted attempts, this one included.

    `fits_elsewhere`: it was too large for this agent, and a larger one takes work.

    A picture that was finished stays finished, even if somebody asked to cancel meanwhile.
    An attempt canceled without such a request was handed back: the job is tried again.
    """
    if attempt_status not in ATTEMPT_TERMINAL:
        raise ValueError(f"An attempt that is {attempt_status} has not ended.")
    if attempt_status is AttemptStatus.SUCCEEDED:
        return JobStatus.SUCCEEDED
    if cancel_requested:
        return JobStatus.CANCELED
    is_retryable = (
        attempt_status is not AttemptStatus.FAILED
        or failure_code is None
        or failure_code in RETRYABLE
        or (fits_elsewhere and failure_code in TOO_LARGE)
    )
    if is_retryable and attempts_counted < MAX_ATTEMPTS:
        return JobStatus.QUEUED
    return JobStatus.FAILED
