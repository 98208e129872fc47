"""`cancel_job`: at once while the job waits, by asking the agent while it runs."""

from __future__ import annotations

import pytest

from accounts.actors import Actor
from accounts.models import AuditEvent
from jobs.lifecycle import JobStatus
from jobs.models import Job, JobAttempt
from jobs.services.cancellation import cancel_job
from jobs.services.leasing import expire_overdue, lease_attempt
from library.models import ModelVersion
from studio.core.errors import ForbiddenError
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


@pytest.fixture
def job(bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion) -> Job:
    return factories.make_job(bob_in_a, workspace)


def test_a_queued_job_is_canceled_at_once(job: Job, bob_in_a: Actor) -> None:
    assert cancel_job(job=job, actor=bob_in_a)

    job.refresh_from_db()
    assert job.status == JobStatus.CANCELED.value
    assert job.ended_at is not None
    assert AuditEvent.objects.filter(object_id=job.pk, action="job.canceled").count() == 1


def test_a_running_job_is_asked_to_stop(job: Job, bob_in_a: Actor, agent: AgentHandle) -> None:
    factories.make_attempt(job, agent.row)

    assert cancel_job(job=job, actor=bob_in_a)

    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING.value
    assert job.cancel_requested_at is not None
    assert AuditEvent.objects.filter(action="job.cancel_requested").count() == 1


def test_asking_twice_is_heard_once(job: Job, bob_in_a: Actor, agent: AgentHandle) -> None:
    factories.make_attempt(job, agent.row)

    assert cancel_job(job=job, actor=bob_in_a)
    assert cancel_job(job=job, actor=bob_in_a)

    assert AuditEvent.objects.filter(action="job.cancel_requested").count() == 1


def test_a_job_that_has_ended_stays_as_it_is(job: Job, bob_in_a: Actor, agent: AgentHandle) -> None:
    factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)

    assert not cancel_job(job=job, actor=bob_in_a)

    job.refresh_from_db()
    assert job.status == JobStatus.SUCCEEDED.value
    assert job.cancel_requested_at is None


def test_a_canceled_job_is_never_leased(job: Job, bob_in_a: Actor, agent: AgentHandle) -> None:
    placement = factories.make_placement(job, agent.row)
    cancel_job(job=job, actor=bob_in_a)

    assert lease_attempt(placement, boot_id=agent.row.boot_id) is None
    assert not JobAttempt.objects.exists()


def test_an_agent_that_dies_while_canceling_leaves_the_job_canceled(
    job: Job, bob_in_a: Actor, agent: AgentHandle
) -> None:
    attempt = factories.make_attempt(job, agent.row)
    cancel_job(job=job, actor=bob_in_a)
    factories.overdue(attempt)

    assert expire_overdue() == 1

    job.refresh_from_db()
    assert job.status == JobStatus.CANCELED.value


def test_a_viewer_may_not_cancel(job: Job, victor_in_a: Actor) -> None:
    with pytest.raises(ForbiddenError):
        cancel_job(job=job, actor=victor_in_a)
