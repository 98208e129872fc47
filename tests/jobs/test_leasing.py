"""Leases: who may write to an attempt, for how long, and what becomes of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from redis import Redis

from accounts.actors import Actor
from gpuagent.protocol.messages import AttemptFinish, HeldAttempt, Register
from jobs.lifecycle import MAX_ATTEMPTS, AttemptStatus, JobStatus
from jobs.models import Job, JobAttempt
from jobs.services.claiming import claim_attempt
from jobs.services.fleet import register_agent
from jobs.services.leasing import (
    expire_overdue,
    hasten_leases,
    lease_attempt,
    renew_leases,
    resend_unclaimed,
)
from jobs.services.reporting import commit_output, finish_attempt, note_started
from library.models import ModelVersion
from studio.core.errors import ConflictError
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


@pytest.fixture
def job(bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion) -> Job:
    return factories.make_job(bob_in_a, workspace)


@pytest.fixture
def attempt(job: Job, agent: AgentHandle) -> JobAttempt:
    return factories.make_attempt(job, agent.row)


def held(*attempts: JobAttempt) -> tuple[HeldAttempt, ...]:
    return tuple(HeldAttempt(attempt_id=a.pk, fence=a.fence) for a in attempts)


def queued_messages(redis: Redis, agent: AgentHandle) -> int:
    return sum(int(redis.llen(key)) for key in redis.scan_iter(f"{agent.row.namespace}:gpu"))


def test_a_lease_moves_the_job_and_the_fence(job: Job, attempt: JobAttempt) -> None:
    job.refresh_from_db()

    assert (job.status, job.fence) == (JobStatus.RUNNING.value, 1)
    assert (attempt.status, attempt.fence) == (AttemptStatus.LEASED.value, 1)
    assert attempt.lease_expires_at > timezone.now()


def test_a_job_is_leased_once(job: Job, attempt: JobAttempt, agent: AgentHandle) -> None:
    placement = factories.make_placement(job, agent.row)
    assert lease_attempt(placement, boot_id="boot-1") is None


def test_a_heartbeat_renews_the_lease(attempt: JobAttempt, agent: AgentHandle) -> None:
    soon = timezone.now() + timedelta(seconds=1)
    JobAttempt.objects.filter(pk=attempt.pk).update(lease_expires_at=soon)

    renewal = renew_leases(agent.row, held(attempt))

    attempt.refresh_from_db()
    assert (renewal.lost, renewal.cancel) == ((), ())
    assert attempt.lease_expires_at > soon


def test_a_heartbeat_learns_what_is_lost_and_what_to_cancel(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
    unknown = HeldAttempt(attempt_id="att_unknown", fence=1)
    stale = HeldAttempt(attempt_id=attempt.pk, fence=99)

    renewal = renew_leases(agent.row, (*held(attempt), unknown, stale))

    assert renewal.lost == ("att_unknown", attempt.pk)
    assert renewal.cancel == (attempt.pk,)


def test_nobody_renews_the_lease_of_another_agent(attempt: JobAttempt) -> None:
    stranger = factories.make_agent("stranger")
    assert renew_leases(stranger.row, held(attempt)).lost == (attempt.pk,)


def test_a_lease_that_lasts_is_not_taken_back(attempt: JobAttempt) -> None:
    assert expire_overdue() == 0


def test_an_overdue_attempt_expires_and_the_next_has_a_higher_fence(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    factories.overdue(attempt)

    assert expire_overdue() == 1

    attempt.refresh_from_db()
    job.refresh_from_db()
    assert attempt.status == AttemptStatus.EXPIRED.value
    assert (job.status, job.attempts_counted) == (JobStatus.QUEUED.value, 1)
    assert factories.make_attempt(job, agent.row).fence == attempt.fence + 1


def test_a_job_fails_after_its_third_lost_attempt(job: Job, agent: AgentHandle) -> None:
    for fence in range(1, MAX_ATTEMPTS + 1):
        attempt = factories.make_attempt(job, agent.row)
        claim_attempt(agent.row, attempt.pk, fence=fence, boot_id="boot-1")
        factories.overdue(attempt)
        expire_overdue()

    job.refresh_from_db()
    assert (job.status, job.error_code) == (JobStatus.FAILED.value, "agent.lost")
    assert job.attempts_counted == MAX_ATTEMPTS


def test_attempts_of_an_earlier_boot_expire_when_the_agent_registers(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    message = Register(boot_id="boot-2", fingerprint={}, device="cpu", memory_bytes=1)

    register_agent(agent.row, message)

    attempt.refresh_from_db()
    job.refresh_from_db()
    assert attempt.status == AttemptStatus.EXPIRED.value
    assert job.status == JobStatus.QUEUED.value


def test_a_claim_whose_answer_was_lost_is_answered_again(
    attempt: JobAttempt, agent: AgentHandle
) -> None:
    first = claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    attempt.refresh_from_db()
    claimed_at = attempt.claimed_at

    second = claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")

    attempt.refresh_from_db()
    assert second.attempt_id == first.attempt_id == attempt.pk
    assert second.recipe == first.recipe
    assert attempt.claimed_at == claimed_at


def test_an_attempt_that_nobody_claimed_does_not_count_against_its_job(
    job: Job, attempt: JobAttempt
) -> None:
    factories.overdue(attempt)

    expire_overdue()

    job.refresh_from_db()
    assert (job.status, job.attempts_counted) == (JobStatus.QUEUED.value, 0)


@pytest.mark.parametrize(("fence", "boot_id"), [(0, "boot-1"), (2, "boot-1"), (1, "boot-0")])
def test_a_stale_fence_or_boot_cannot_claim(
    attempt: JobAttempt, agent: AgentHandle, fence: int, boot_id: str
) -> None:
    with pytest.raises(ConflictError):
        claim_attempt(agent.row, attempt.pk, fence=fence, boot_id=boot_id)


def test_another_agent_cannot_claim(attempt: JobAttempt) -> None:
    stranger = factories.make_agent("stranger")
    with pytest.raises(ConflictError):
        claim_attempt(stranger.row, attempt.pk, fence=1, boot_id="boot-1")


def test_after_expiry_the_old_holder_can_do_nothing(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    # Given: the agent has claimed and stored, but its lease ran out and the job went on.
    files = factories.make_stored_pair(agent.row, attempt)
    factories.overdue(attempt)
    expire_overdue()
    second = factories.make_attempt(job, agent.row)

    # When, then: nothing of the first attempt counts any more.
    with pytest.raises(ConflictError):
        claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))
    with pytest.raises(ConflictError):
        finish_attempt(agent.row, attempt.pk, AttemptFinish(fence=1, status="succeeded"))
    assert not note_started(agent.row, attempt.pk, 1)

    # Nor with the new fence on the old attempt, or the old fence on the new attempt.
    with pytest.raises(ConflictError):
        finish_attempt(agent.row, attempt.pk, AttemptFinish(fence=2, status="succeeded"))
    with pytest.raises(ConflictError):
        finish_attempt(agent.row, second.pk, AttemptFinish(fence=1, status="succeeded"))


def test_a_new_attempt_is_told_which_pictures_are_done(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=3)
    first = factories.make_attempt(job, agent.row)
    files = factories.make_stored_pair(agent.row, first, index=1)
    commit_output(agent.row, first.pk, factories.make_commit(first, files, index=1))
    factories.overdue(first)
    expire_overdue()

    second = factories.make_attempt(job, agent.row)
    assignment = claim_attempt(agent.row, second.pk, fence=2, boot_id="boot-1")

    assert assignment.done == (1,)
    assert {target.index for target in assignment.targets} == {0, 2}


def test_an_unclaimed_attempt_is_sent_again_after_the_broker_was_emptied(
    job: Job,
    agent: AgentHandle,
    redis: Redis,
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    # Given: the attempt was sent, and then somebody emptied Redis.
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]  # pytest-django's fixture
        attempt = factories.make_attempt(job, agent.row)
    assert queued_messages(redis, agent) == 1
    redis.flushdb()

    # When: no agent claims for a while.
    assert resend_unclaimed() == 0
    factories.long_unclaimed(attempt)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]  # same
        assert resend_unclaimed() == 1

    # Then: it lies in the queue again, and is not sent in every round.
    assert queued_messages(redis, agent) == 1
    assert resend_unclaimed() == 0


def test_a_claimed_attempt_is_not_sent_again(attempt: JobAttempt, agent: AgentHandle) -> None:
    claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    factories.long_unclaimed(attempt)

    assert resend_unclaimed() == 0


def lose(*attempts: JobAttempt) -> None:
    """Their agent falls silent."""
    for attempt in attempts:
        factories.overdue(attempt)
    assert expire_overdue() == len(attempts)


def tries_of(job: Job) -> int:
    job.refresh_from_db()
    return job.attempts_counted


def test_a_job_that_waited_behind_another_is_not_to_blame(
    job: Job, attempt: JobAttempt, agent: AgentHandle, bob_in_a: Actor, workspace: Workspace
) -> None:
    next_job = factories.make_job(bob_in_a, workspace)
    following = factories.make_attempt(next_job, agent.row)
    for held_attempt in (attempt, following):
        claim_attempt(agent.row, held_attempt.pk, fence=1, boot_id="boot-1")
    note_started(agent.row, attempt.pk, 1)

    lose(attempt, following)

    assert (tries_of(job), tries_of(next_job)) == (1, 0)


def test_when_nothing_had_begun_each_may_be_to_blame(
    job: Job, attempt: JobAttempt, agent: AgentHandle, bob_in_a: Actor, workspace: Workspace
) -> None:
    next_job = factories.make_job(bob_in_a, workspace)
    following = factories.make_attempt(next_job, agent.row)
    for held_attempt in (attempt, following):
        claim_attempt(agent.row, held_attempt.pk, fence=1, boot_id="boot-1")

    lose(attempt, following)

    assert (tries_of(job), tries_of(next_job)) == (1, 1)


def test_an_agent_that_speaks_again_clears_the_job(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    lose(attempt)
    assert tries_of(job) == 1

    for _ in range(2):  # it says so with every heartbeat until it has heard the answer
        assert renew_leases(agent.row, held(attempt)).lost == (attempt.pk,)
        assert tries_of(job) == 0


def test_an_agent_that_started_anew_clears_nobody(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    lose(attempt)
    agent.row.boot_id = "boot-2"

    renew_leases(agent.row, held(attempt))

    assert tries_of(job) == 1


def test_a_job_that_stops_its_agents_for_a_while_is_not_tried_for_ever(
    job: Job, agent: AgentHandle
) -> None:
    tried = 0
    while job.status != JobStatus.FAILED.value:
        attempt = factories.make_attempt(job, agent.row)
        claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id="boot-1")
        lose(attempt)
        renew_leases(agent.row, held(attempt))
        job.refresh_from_db()
        tried += 1
        assert tried <= 2 * MAX_ATTEMPTS

    assert tried == 2 * MAX_ATTEMPTS


def test_a_broken_socket_halves_what_is_left_of_a_lease_and_a_heartbeat_restores_it(
    attempt: JobAttempt, agent: AgentHandle
) -> None:
    def seconds_left() -> float:
        attempt.refresh_from_db()
        return (attempt.lease_expires_at - timezone.now()).total_seconds()

    assert hasten_leases(agent.row) == 1
    assert 6.0 < seconds_left() < 7.6
    assert hasten_leases(factories.make_agent("other").row) == 0

    renew_leases(agent.row, held(attempt))
    assert seconds_left() > 14.0
