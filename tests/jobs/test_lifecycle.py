from __future__ import annotations

import json
from itertools import product

import pytest

from gpuagent.protocol.failures import RETRYABLE, FailureCode
from jobs.lifecycle import (
    ATTEMPT_OPEN,
    ATTEMPT_TERMINAL,
    ATTEMPT_TRANSITIONS,
    JOB_OPEN,
    JOB_TERMINAL,
    JOB_TRANSITIONS,
    MAX_ATTEMPTS,
    AttemptStatus,
    JobStatus,
    after_attempt_ends,
    can_move,
    counts_against_job,
    sources_of,
)

JOB_MOVES = {
    ("queued", "running"),
    ("queued", "failed"),
    ("queued", "canceled"),
    ("running", "queued"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "canceled"),
}
ATTEMPT_MOVES = {
    ("leased", "running"),
    *product(("leased", "running"), ("succeeded", "failed", "canceled", "expired")),
}


@pytest.mark.parametrize(("source", "target"), list(product(JobStatus, JobStatus)))
def test_job_moves_only_along_the_table(source: JobStatus, target: JobStatus) -> None:
    assert can_move(source, target) == ((source, target) in JOB_MOVES)
    assert (source in sources_of(target)) == can_move(source, target)


@pytest.mark.parametrize(("source", "target"), list(product(AttemptStatus, AttemptStatus)))
def test_attempt_moves_only_along_the_table(source: AttemptStatus, target: AttemptStatus) -> None:
    assert can_move(source, target) == ((source, target) in ATTEMPT_MOVES)
    assert (source in sources_of(target)) == can_move(source, target)


def test_terminal_statuses_are_those_without_a_way_out() -> None:
    assert {status for status, after in JOB_TRANSITIONS.items() if not after} == JOB_TERMINAL
    assert {s for s, after in ATTEMPT_TRANSITIONS.items() if not after} == ATTEMPT_TERMINAL
    assert set(JobStatus) == JOB_OPEN | JOB_TERMINAL
    assert set(AttemptStatus) == ATTEMPT_OPEN | ATTEMPT_TERMINAL
    assert not JOB_OPEN & JOB_TERMINAL
    assert not ATTEMPT_OPEN & ATTEMPT_TERMINAL


def test_tables_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        JOB_TRANSITIONS[JobStatus.FAILED] = frozenset({JobStatus.QUEUED})  # type: ignore[index]  # the mistake that is meant


def test_statuses_are_their_strings_in_rows_and_messages() -> None:
    assert json.dumps({"status": JobStatus.QUEUED}) == '{"status": "queued"}'
    assert AttemptStatus("leased") is AttemptStatus.LEASED


FAILED, EXPIRED, HANDED_BACK = AttemptStatus.FAILED, AttemptStatus.EXPIRED, AttemptStatus.CANCELED


@pytest.mark.parametrize(
    ("attempt", "code", "counted", "cancel_requested", "becomes"),
    [
        (AttemptStatus.SUCCEEDED, None, 1, False, JobStatus.SUCCEEDED),
        # The picture was there before the wish to cancel: it is kept.
        (AttemptStatus.SUCCEEDED, None, 1, True, JobStatus.SUCCEEDED),
        (AttemptStatus.CANCELED, None, 1, True, JobStatus.CANCELED),
        (FAILED, FailureCode.OUT_OF_MEMORY, 1, True, JobStatus.CANCELED),
        (EXPIRED, None, 1, True, JobStatus.CANCELED),
        # Nobody asked: the agent handed it back.
        (HANDED_BACK, None, 1, False, JobStatus.QUEUED),
        (HANDED_BACK, None, MAX_ATTEMPTS, False, JobStatus.FAILED),
        (EXPIRED, None, 1, False, JobStatus.QUEUED),
        (EXPIRED, None, 2, False, JobStatus.QUEUED),
        (EXPIRED, None, MAX_ATTEMPTS, False, JobStatus.FAILED),
        (EXPIRED, FailureCode.AGENT_LOST, MAX_ATTEMPTS, False, JobStatus.FAILED),
        # Drained at the first try: nothing is counted yet.
        (FAILED, FailureCode.AGENT_LOST, 0, False, JobStatus.QUEUED),
        (FAILED, FailureCode.AGENT_LOST, 2, False, JobStatus.QUEUED),
        (FAILED, FailureCode.RECIPE_INVALID, 1, False, JobStatus.FAILED),
        (FAILED, FailureCode.DOES_NOT_FIT, 1, False, JobStatus.FAILED),
        (FAILED, None, 1, False, JobStatus.QUEUED),
        (FAILED, None, MAX_ATTEMPTS, False, JobStatus.FAILED),
    ],
)
def test_job_after_its_attempt_ends(
    attempt: AttemptStatus,
    code: FailureCode | None,
    counted: int,
    cancel_requested: bool,
    becomes: JobStatus,
) -> None:
    assert after_attempt_ends(attempt, code, counted, cancel_requested) is becomes
    assert can_move(JobStatus.RUNNING, becomes)


@pytest.mark.parametrize("code", list(FailureCode))
def test_job_is_tried_again_only_where_that_can_help(code: FailureCode) -> None:
    outcomes = [after_attempt_ends(FAILED, code, n, False) for n in range(1, MAX_ATTEMPTS + 1)]
    retried = [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED]
    assert outcomes == (retried if code in RETRYABLE else [JobStatus.FAILED] * MAX_ATTEMPTS)


@pytest.mark.parametrize("attempt", sorted(ATTEMPT_OPEN))
def test_an_open_attempt_decides_nothing(attempt: AttemptStatus) -> None:
    with pytest.raises(ValueError, match=attempt):
        after_attempt_ends(attempt, None, 1, False)


def test_only_leaving_and_making_way_are_not_counted() -> None:
    assert not counts_against_job(FailureCode.AGENT_LOST)
    assert not counts_against_job(FailureCode.AGENT_LOST, AttemptStatus.CANCELED)
    assert counts_against_job(FailureCode.AGENT_LOST, AttemptStatus.EXPIRED)
    assert counts_against_job(None, AttemptStatus.EXPIRED)
    blameless = {FailureCode.AGENT_LOST, FailureCode.YIELDED}
    assert not counts_against_job(FailureCode.YIELDED, AttemptStatus.CANCELED)
    assert all(counts_against_job(code) for code in set(FailureCode) - blameless)
