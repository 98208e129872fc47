"""A long job makes way between two pictures, from the plan to the queue and back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.actors import Actor
from gpuagent.protocol.messages import AttemptError, AttemptFinish, Heartbeat, HeldAttempt
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, JobAttempt, Output
from jobs.queue_rows import read_in_flight, read_waiting, views
from jobs.services.cancellation import cancel_job
from jobs.services.fleet import hear_heartbeat
from jobs.services.reporting import commit_output, finish_attempt, note_started
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]
YIELDED = AttemptError(code="agent.yielded")


@pytest.fixture
def long_attempt(bob_in_a: Actor, workspace: Workspace, agent: AgentHandle) -> JobAttempt:
    """Eight pictures at leisure, estimated at 80 s, begun 10 s ago; the first is stored."""
    job = factories.make_job(bob_in_a, workspace, tier="relax", num_images_per_prompt=8)
    Job.objects.filter(pk=job.pk).update(cost_seconds=80.0)
    Dispatcher().run_round()
    attempt = JobAttempt.objects.get()
    files = factories.make_stored_pair(agent.row, attempt)
    assert note_started(agent.row, attempt.pk, attempt.fence)
    began = timezone.now() - timedelta(seconds=10)
    JobAttempt.objects.filter(pk=attempt.pk).update(leased_at=began, started_at=began)
    commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))
    attempt.refresh_from_db()
    return attempt


def urgent_job(actor: Actor, workspace: Workspace) -> Job:
    """It has waited longer than its patience."""
    job = factories.make_job(actor, workspace, tier="turbo")
    Job.objects.filter(pk=job.pk).update(submitted_at=timezone.now() - timedelta(seconds=5))
    return job


def asked(agent: AgentHandle, attempt: JobAttempt) -> tuple[str, ...]:
    """What the agent's next heartbeat brings."""
    held = (HeldAttempt(attempt_id=attempt.pk, fence=attempt.fence),)
    message = Heartbeat(boot_id=agent.row.boot_id, ready=True, warm=(), attempts=held)
    return hear_heartbeat(agent.row, message).yields


def hand_back(agent: AgentHandle, attempt: JobAttempt) -> None:
    finish = AttemptFinish(fence=attempt.fence, status="canceled", error=YIELDED)
    finish_attempt(agent.row, attempt.pk, finish)


def test_a_long_job_makes_way_for_an_urgent_one_and_comes_back(
    alice_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    long_attempt: JobAttempt,
    settings: LazySettings,
) -> None:
    # Given: nobody is asked while nothing urgent waits.
    settings.AGENT_SLOTS = 1
    dispatcher = Dispatcher()
    dispatcher.run_round()
    assert asked(agent, long_attempt) == ()

    # When: something urgent comes, the agent is asked, once.
    urgent = urgent_job(alice_in_a, workspace)
    dispatcher.run_round()
    assert asked(agent, long_attempt) == (long_attempt.pk,)
    dispatcher.run_round()

    # Then: what it hands back waits again with the picture kept, and no try is used up,
    hand_back(agent, long_attempt)
    job = Job.objects.get(pk=long_attempt.job_id)
    assert (job.status, job.attempts_counted) == (JobStatus.QUEUED.value, 0)
    assert (job.error_code, Output.objects.filter(job=job).count()) == ("", 1)
    (waiting,) = read_waiting([job.pk])
    assert (waiting.pictures, waiting.cost_seconds) == (7, 70.0)
    # the agent goes on serving, and does the urgent one first.
    agent.row.refresh_from_db()
    assert agent.row.is_accepting
    assert dispatcher.run_round() == 1
    assert JobAttempt.objects.get(ended_at=None).job_id == urgent.pk


def test_making_way_often_is_no_failure(
    workspace: Workspace, agent: AgentHandle, long_attempt: JobAttempt
) -> None:
    dispatcher, attempt = Dispatcher(), long_attempt
    for _ in range(5):
        hand_back(agent, attempt)
        dispatcher.run_round()
        attempt = JobAttempt.objects.get(ended_at=None)
    assert Job.objects.get().attempts_counted == 0


def test_a_job_that_was_canceled_meanwhile_does_not_come_back(
    bob_in_a: Actor, agent: AgentHandle, long_attempt: JobAttempt
) -> None:
    cancel_job(job=Job.objects.get(), actor=bob_in_a)
    hand_back(agent, long_attempt)
    assert Job.objects.get().status == JobStatus.CANCELED.value


def test_the_boundary_follows_what_is_stored(agent: AgentHandle, long_attempt: JobAttempt) -> None:
    # Given: its first picture took 20 s, though 10 were expected.
    began = timezone.now() - timedelta(seconds=20)
    JobAttempt.objects.update(leased_at=began, started_at=began)

    (view,) = views(Agent.objects.all(), read_in_flight())

    now = timezone.now().timestamp()
    assert view.running == "relax"
    assert view.yields_at == pytest.approx(now + 20, abs=2)
    assert view.busy_until == pytest.approx(now + 140, abs=5)


def test_with_one_picture_left_there_is_nothing_to_hand_back(
    agent: AgentHandle, long_attempt: JobAttempt
) -> None:
    Job.objects.update(count=2)
    (view,) = views(Agent.objects.all(), read_in_flight())
    assert view.yields_at is None


def test_an_agent_with_a_second_job_staged_is_left_alone(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, long_attempt: JobAttempt
) -> None:
    factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    (view,) = views(Agent.objects.all(), read_in_flight())
    assert (view.yields_at, view.running) == (None, "fast")
