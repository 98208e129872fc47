"""The dispatcher: each round turns queued jobs into leased attempts, whatever happened before."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.actors import Actor
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, JobAttempt, SchedulerState
from jobs.services.cancellation import cancel_job
from studio.core.models import OutboxMessage
from tests import factories
from tests.factories import GIB, AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


def copy_jobs(job: Job, count: int) -> list[Job]:
    """Many queued jobs like this one, without sealing each."""
    names = [field.attname for field in Job._meta.fields if field.name != "id"]
    columns = {name: getattr(job, name) for name in names}
    return Job.objects.bulk_create(Job(**columns) for _ in range(count))


def statuses() -> list[str]:
    return sorted(Job.objects.values_list("status", flat=True))


def test_a_round_leases_to_the_free_slots_of_a_live_agent(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, settings: LazySettings
) -> None:
    settings.AGENT_SLOTS = 1
    jobs = [factories.make_job(bob_in_a, workspace) for _ in range(3)]

    dispatcher = Dispatcher()

    assert dispatcher.run_round() == 1
    assert dispatcher.run_round() == 0
    (attempt,) = JobAttempt.objects.all()
    assert (attempt.job_id, attempt.agent_id) == (jobs[0].pk, agent.row.pk)
    assert attempt.boot_id == agent.row.boot_id
    assert attempt.placement["user_id"] == bob_in_a.user_id


def test_a_message_for_the_agent_lies_in_the_outbox_with_ids_only(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    factories.make_job(bob_in_a, workspace)

    Dispatcher().run_round()

    attempt = JobAttempt.objects.get()
    message = OutboxMessage.objects.get(actor_name="run_attempt")
    assert message.args == [attempt.pk, attempt.fence]
    assert (message.namespace, message.queue_name) == (agent.row.namespace, "gpu")


@pytest.mark.parametrize(
    "change",
    [
        {"last_seen_at": None},
        {"last_seen_at": timezone.now() - timedelta(hours=1)},
        {"is_draining": True},
    ],
)
def test_nothing_is_leased_to_an_agent_that_is_lost_or_draining(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, change: dict[str, object]
) -> None:
    factories.make_job(bob_in_a, workspace)
    Agent.objects.filter(pk=agent.row.pk).update(**change)

    assert Dispatcher().run_round() == 0


def test_a_canceled_job_leaves_the_line(bob_in_a: Actor, workspace: Workspace) -> None:
    first, second = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    dispatcher = Dispatcher()
    dispatcher.run_round()
    cancel_job(job=first, actor=bob_in_a)

    factories.make_agent("late")
    assert dispatcher.run_round() == 1

    assert JobAttempt.objects.get().job_id == second.pk


def test_a_lost_attempt_is_leased_again(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    dispatcher = Dispatcher()
    dispatcher.run_round()
    factories.overdue(JobAttempt.objects.get())

    assert dispatcher.run_round() == 1

    assert list(JobAttempt.objects.order_by("fence").values_list("fence", "status")) == [
        (1, "expired"),
        (2, "leased"),
    ]
    job.refresh_from_db()
    assert job.status == JobStatus.RUNNING.value


def test_a_job_moved_up_by_its_owner_goes_first(
    bob_in_a: Actor, workspace: Workspace, settings: LazySettings
) -> None:
    settings.AGENT_SLOTS = 1
    _first, second = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    dispatcher = Dispatcher()
    dispatcher.run_round()
    Job.objects.filter(pk=second.pk).update(position=-1)

    factories.make_agent("late")
    dispatcher.run_round()

    assert JobAttempt.objects.get().job_id == second.pk


def test_an_ended_attempt_is_settled_once(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    dispatcher = Dispatcher()
    dispatcher.run_round()
    attempt = JobAttempt.objects.get()
    factories.run_attempt(attempt, agent.row)
    assert attempt.settled_at is None

    dispatcher.run_round()

    attempt.refresh_from_db()
    job.refresh_from_db()
    settled_at = attempt.settled_at
    assert settled_at is not None
    assert job.status == JobStatus.SUCCEEDED.value
    dispatcher.run_round()
    attempt.refresh_from_db()
    assert attempt.settled_at == settled_at


def test_a_restarted_dispatcher_remembers_who_had_much(
    bob_in_a: Actor,
    alice_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    settings: LazySettings,
) -> None:
    # Given: Bob has had an expensive picture, and both wait.
    settings.AGENT_SLOTS = 1
    factories.make_job(bob_in_a, workspace, width=1024, height=1024, num_inference_steps=150)
    for _ in range(2):
        factories.make_job(bob_in_a, workspace)
    factories.make_job(alice_in_a, workspace)
    Dispatcher().run_round()
    Agent.objects.filter(pk=agent.row.pk).update(last_seen_at=None)
    assert SchedulerState.objects.get().state["root"]

    # When: another dispatcher takes over, with another agent.
    factories.make_agent("second")
    assert Dispatcher().run_round() == 1

    # Then: it is Alice's turn, though Bob's jobs are older.
    newest = JobAttempt.objects.select_related("job").order_by("-id").first()
    assert newest is not None
    assert newest.job.created_by_id == alice_in_a.user_id


def test_what_fits_no_agent_fails_after_a_grace_and_says_so(
    bob_in_a: Actor, workspace: Workspace, settings: LazySettings
) -> None:
    # Given: the only agent left is too small, and a small job waits, too.
    large = factories.make_job(bob_in_a, workspace, width=2048, height=2048)
    small = factories.make_job(bob_in_a, workspace)
    factories.make_agent("small", memory_bytes=2 * GIB)
    dispatcher = Dispatcher()

    # When: the grace has not yet passed, it waits.
    assert dispatcher.run_round() == 1
    large.refresh_from_db()
    assert large.status == JobStatus.QUEUED.value

    # Then: it fails with the numbers, and only it.
    settings.UNPLACEABLE_GRACE_SECONDS = 0
    dispatcher.run_round()
    large.refresh_from_db()
    small.refresh_from_db()
    assert (large.status, large.error_code) == (JobStatus.FAILED.value, "gpu.does_not_fit")
    assert large.error_data["largest_bytes"] == 2 * GIB
    assert small.status == JobStatus.RUNNING.value
    assert dispatcher.run_round() == 0


def test_without_any_agent_jobs_wait(
    bob_in_a: Actor, workspace: Workspace, settings: LazySettings
) -> None:
    settings.UNPLACEABLE_GRACE_SECONDS = 0
    factories.make_job(bob_in_a, workspace, width=2048, height=2048)
    dispatcher = Dispatcher()

    dispatcher.run_round()
    dispatcher.run_round()

    assert statuses() == ["queued"]


def test_the_grace_starts_anew_when_a_larger_agent_was_there_meanwhile(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    factories.make_job(bob_in_a, workspace, width=2048, height=2048)
    factories.make_agent("small", memory_bytes=2 * GIB)
    dispatcher = Dispatcher()
    dispatcher.run_round()
    assert len(dispatcher.unfit_since) == 1

    factories.make_agent("large", memory_bytes=80 * GIB)
    dispatcher.run_round()

    assert dispatcher.unfit_since == {}


def test_a_round_over_ten_thousand_queued_jobs_reads_only_what_is_new(
    bob_in_a: Actor, workspace: Workspace, django_assert_max_num_queries: object
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    copy_jobs(job, 10_000)
    dispatcher = Dispatcher()
    dispatcher.run_round()

    started = time.process_time()
    with django_assert_max_num_queries(12):  # type: ignore[operator]  # pytest-django's fixture
        dispatcher.run_round()

    assert time.process_time() - started < 1.0
    assert dispatcher.queue is not None
    assert len(dispatcher.queue) == 10_001
