"""Batches of jobs between the dispatcher and agents, with real rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.actors import Actor
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import AttemptStatus
from jobs.models import Agent, CostEstimate, JobAttempt, RunRecord
from jobs.queue_rows import read_in_flight, views
from jobs.selectors import live_agents
from jobs.services.claiming import claim_attempt
from jobs.services.recording import batch_of, record_run
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


@pytest.fixture
def batching(agent: AgentHandle) -> AgentHandle:
    """An agent that makes four at once."""
    Agent.objects.filter(pk=agent.row.pk).update(telemetry={"batch_limit": 4.0})
    return agent


def test_jobs_alike_are_leased_together_and_take_one_slot(
    bob_in_a: Actor, workspace: Workspace, batching: AgentHandle, settings: LazySettings
) -> None:
    settings.AGENT_SLOTS = 1
    jobs = [factories.make_job(bob_in_a, workspace, prompt=f"a mug {n}") for n in range(6)]
    dispatcher = Dispatcher()
    assert dispatcher.run_round() == 4
    assert dispatcher.run_round() == 0
    attempts = JobAttempt.objects.order_by("job__submitted_at")
    assert [attempt.placement.get("rides_with") for attempt in attempts] == [
        None,
        *[jobs[0].pk] * 3,
    ]
    (view,) = views(live_agents(), read_in_flight())
    assert view.free_slots == 0
    # When the first of them has ended, the others still are one batch
    JobAttempt.objects.filter(job=jobs[0]).update(status="succeeded")
    (view,) = views(live_agents(), read_in_flight())
    assert view.free_slots == 0


def test_the_agent_is_told_that_it_may_and_never_for_a_picture_made_again(
    bob_in_a: Actor, workspace: Workspace, batching: AgentHandle
) -> None:
    first = factories.make_job(bob_in_a, workspace)
    several = factories.make_job(bob_in_a, workspace, num_images_per_prompt=2)
    assert first.batch_key
    assert several.batch_key == ""
    for job, may in ((first, True), (several, False)):
        attempt = JobAttempt.objects.filter(job=job).first() or factories.make_attempt(
            job, batching.row
        )
        found = claim_attempt(
            batching.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id
        )
        assert found.may_batch is may


def test_other_settings_have_another_key(bob_in_a: Actor, workspace: Workspace) -> None:
    one = factories.make_job(bob_in_a, workspace, prompt="a mug")
    same = factories.make_job(bob_in_a, workspace, prompt="a cat", seed=9)
    other = factories.make_job(bob_in_a, workspace, num_inference_steps=7)
    assert one.batch_key == same.batch_key != other.batch_key
    assert "mug" not in one.batch_key


@pytest.mark.parametrize(
    ("said", "batch"), [({}, 1), ({"batch": 4}, 4), ({"batch": 0}, 1), ({"batch": "x"}, 1)]
)
def test_the_size_of_a_batch_is_taken_only_if_it_makes_sense(
    said: dict[str, object], batch: int
) -> None:
    assert batch_of(said) == batch


def test_what_a_picture_took_in_a_batch_teaches_nothing_about_one_alone(
    bob_in_a: Actor, workspace: Workspace, batching: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    attempt = factories.make_attempt(job, batching.row)
    timings = {"denoise": 1.0, "decode": 0.1, "batch": 4}
    record_run(
        attempt,
        job,
        status=AttemptStatus.SUCCEEDED,
        error_code="",
        timings=timings,
        ended_at=timezone.now() + timedelta(seconds=2),
    )
    assert RunRecord.objects.get().run_seconds == pytest.approx(1.1)
    assert not CostEstimate.objects.exists()
