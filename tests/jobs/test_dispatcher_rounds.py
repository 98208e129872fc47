"""What a round reads and writes: only what changed, and all leases together."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.actors import Actor
from gpuagent.protocol.messages import Heartbeat
from jobs.announcements import DISPATCH_CHANNEL, jobs_named_by, wake_dispatcher
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import JobStatus
from jobs.management.commands.dispatch import wait_for_changes
from jobs.models import (
    Agent,
    CostEstimate,
    FleetPolicy,
    Job,
    JobAttempt,
    OrganizationShare,
)
from jobs.queue_rows import read_waiting
from jobs.scheduling import Policy, Tier
from jobs.services.cancellation import cancel_job
from jobs.services.fleet import hear_heartbeat
from jobs.services.leasing import expire_overdue, lease_attempts
from jobs.services.reporting import commit_output
from library.models import ModelVersion
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


def beat(agent: AgentHandle) -> None:
    """A heartbeat with news: another model is loaded."""
    boot_id = agent.row.boot_id
    hear_heartbeat(agent.row, Heartbeat(boot_id=boot_id, ready=True, warm=("new",), attempts=()))


def noted(listener: psycopg.Connection[tuple[object, ...]], count: int) -> set[str]:
    """The jobs that notes name until they are so many: a busy machine delivers them bit by bit."""
    named: set[str] = set()
    for _ in range(20):
        found = wait_for_changes(listener, 1.0)
        assert found is not None, "a note names no job"
        named |= found
        if len(named) >= count:
            break
    return named


def test_a_round_that_knows_what_changed_reads_nothing_else(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    # Given: jobs in the index, then one canceled and one new; a third changes untold.
    canceled, untold = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    dispatcher = Dispatcher()
    dispatcher.run_round()
    cancel_job(job=canceled, actor=bob_in_a)
    new = factories.make_job(bob_in_a, workspace)
    Job.objects.filter(pk=untold.pk).update(position=7)

    with CaptureQueriesContext(connection) as captured:
        dispatcher.run_round(is_tidying=False, changed={canceled.pk, new.pk})

    assert dispatcher.queue is not None
    assert {new.pk, untold.pk} == {pk for pk in (new.pk, untold.pk) if pk in dispatcher.queue}
    assert canceled.pk not in dispatcher.queue
    known = dispatcher.queue.get(untold.pk)
    assert known is not None
    assert known.position != 7
    assert not [q for q in captured if untold.pk in q["sql"] or "'queued'" in q["sql"]]


def test_what_no_note_told_of_is_found_by_comparing(
    bob_in_a: Actor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = Dispatcher()
    dispatcher.run_round()
    job = factories.make_job(bob_in_a, workspace)
    dispatcher.run_round(changed=set())
    assert dispatcher.queue is not None
    assert job.pk not in dispatcher.queue

    monkeypatch.setattr("jobs.dispatcher.COMPARE_SECONDS", 0.0)
    dispatcher.run_round(changed=set())

    assert job.pk in dispatcher.queue
    Job.objects.filter(pk=job.pk).update(status=JobStatus.CANCELED.value)
    dispatcher.run_round(changed=set())
    assert job.pk not in dispatcher.queue


def test_all_leases_of_a_round_take_as_many_statements_as_one(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    def statements(agents: int) -> int:
        for _ in range(agents):
            factories.make_job(bob_in_a, workspace)
            factories.make_agent()
        dispatcher = Dispatcher()
        dispatcher.swept_at = timezone.now()
        with CaptureQueriesContext(connection) as captured:
            assert dispatcher.run_round(is_tidying=False) == agents
        Agent.objects.update(last_seen_at=None)
        return len(captured)

    statements(1)  # the first round of all saves its state
    assert statements(1) == statements(6)


def test_one_bad_row_does_not_stop_the_others(
    bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace
) -> None:
    # Given: three jobs for three agents, one of them in a workspace whose key was destroyed.
    ruined = factories.make_workspace(workspace.organization, "Ruined")
    good = [factories.make_job(bob_in_a, workspace) for _ in range(2)]
    bad = factories.make_job(alice_in_a, ruined)
    Workspace.objects.filter(pk=ruined.pk).update(wrapped_key=b"")
    for _ in range(3):
        factories.make_agent()

    assert Dispatcher().run_round() == 2

    bad.refresh_from_db()
    assert (bad.status, bad.error_code) == (JobStatus.FAILED.value, "agent.internal")
    assert set(JobAttempt.objects.values_list("job_id", flat=True)) == {job.pk for job in good}


def test_a_paused_job_is_passed_over_until_it_goes_on(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, settings: LazySettings
) -> None:
    settings.AGENT_SLOTS = 1
    paused, other = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    Job.objects.filter(pk=paused.pk).update(paused_at=timezone.now())
    dispatcher = Dispatcher()

    assert dispatcher.run_round() == 1
    assert JobAttempt.objects.get().job_id == other.pk

    Job.objects.filter(pk=paused.pk).update(paused_at=None)
    factories.make_agent("late")
    assert dispatcher.run_round(changed={paused.pk}) == 1


def test_a_job_paused_after_it_was_placed_is_not_leased(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job, canceled = (factories.make_job(bob_in_a, workspace) for _ in range(2))
    placements = [factories.make_placement(one, agent.row) for one in (job, canceled)]
    Job.objects.filter(pk=job.pk).update(paused_at=timezone.now())
    cancel_job(job=canceled, actor=bob_in_a)

    assert lease_attempts(placements, boot_ids={agent.row.pk: "boot-1"}) == []
    job.refresh_from_db()
    assert (job.status, job.fence) == (JobStatus.QUEUED.value, 0)


def test_a_member_has_at_most_so_many_on_agents(bob_in_a: Actor, workspace: Workspace) -> None:
    for _ in range(3):
        factories.make_job(bob_in_a, workspace)
        factories.make_agent()
    dispatcher = Dispatcher(Policy(member_cap=2))

    assert dispatcher.run_round() == 2
    assert dispatcher.run_round() == 0


def test_of_a_job_that_is_tried_again_only_what_is_left_is_counted(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=4)
    attempt = factories.make_attempt(job, agent.row)
    files = factories.make_stored_pair(agent.row, attempt, index=1)
    commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files, index=1))
    factories.overdue(attempt)
    expire_overdue()

    (waiting,) = read_waiting([job.pk])

    assert waiting.pictures == 3
    assert waiting.cost_seconds == pytest.approx(job.cost_seconds * 3 / 4)


def test_the_next_look_is_when_a_busy_agent_should_be_given_more(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    dispatcher = Dispatcher(Policy(default_swap_seconds=20.0, stage_ahead_seconds=1.0))
    assert dispatcher.seconds_until_due(at_most=60.0) == 60.0
    job = factories.make_job(bob_in_a, workspace)

    dispatcher.run_round()

    expected = job.cost_seconds + 20.0 - 1.0
    assert dispatcher.seconds_until_due(at_most=60.0) == pytest.approx(expected, abs=2.0)
    assert dispatcher.seconds_until_due(at_most=1.0) == 1.0


@pytest.mark.parametrize(
    ("notes", "jobs"),
    [
        ([], set()),
        (["job_1", "job_2,job_3"], {"job_1", "job_2", "job_3"}),
        (["-"], set()),
        (["job_1", "-"], {"job_1"}),
        (["job_1", ""], None),
    ],
)
def test_notes_name_jobs_or_mean_any(notes: list[str], jobs: set[str] | None) -> None:
    assert jobs_named_by(notes) == jobs


@pytest.mark.django_db(transaction=True)
def test_whoever_changes_a_job_tells_the_dispatcher_which(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters, autocommit=True) as listener:
        listener.execute(f"LISTEN {DISPATCH_CHANNEL}")
        jobs = [factories.make_job(bob_in_a, workspace) for _ in range(3)]
        assert noted(listener, 3) == {job.pk for job in jobs}
        cancel_job(job=jobs[0], actor=bob_in_a)
        assert noted(listener, 1) == {jobs[0].pk}
        beat(agent)
        assert wait_for_changes(listener, 5.0) == set()
        many = [f"job_{n:026d}" for n in range(450)]
        with transaction.atomic():
            wake_dispatcher(*many)
        assert noted(listener, len(many)) == set(many)
        with transaction.atomic():
            wake_dispatcher()
        assert wait_for_changes(listener, 5.0) is None


def test_what_operators_set_holds_from_the_next_look_on_and_the_index_stays(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    for _ in range(3):
        factories.make_job(bob_in_a, workspace)
    dispatcher = Dispatcher()
    dispatcher.run_round()
    queue = dispatcher.queue
    OrganizationShare.objects.create(organization=workspace.organization, jobs_at_once=2)
    FleetPolicy.objects.update_or_create(pk=1, defaults={"reserved_shares": {"relax": 0.3}})
    for _ in range(3):
        factories.make_agent()

    assert dispatcher.run_round(changed=set()) == 2

    assert dispatcher.queue is queue
    assert dispatcher.policy.tier_reserves[Tier.RELAX] == 0.3


def test_what_loading_took_lately_is_learned(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    CostEstimate.objects.create(
        gpu_class="cpu", kind="load", key=model_version.digest, mean_seconds=2.5, weight=9
    )
    factories.make_job(bob_in_a, workspace)

    Dispatcher().run_round()

    assert JobAttempt.objects.get().placement["swap_seconds"] == 2.5


def test_a_model_in_host_memory_is_known_to_load_quickly(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    part = {"component": "unet", "bytes": 1, "place": "host"}
    Agent.objects.update(residents=[{"digest": model_version.digest, **part}])
    factories.make_job(bob_in_a, workspace)

    Dispatcher().run_round()

    swap = JobAttempt.objects.get().placement["swap_seconds"]
    assert swap == Policy().cached_swap_seconds
    # And: how quickly is learned, apart from loading it from disk.
    for kind, seconds in (("load", 2.5), ("load_cached", 0.2)):
        key = {"gpu_class": "cpu", "kind": kind, "key": model_version.digest}
        CostEstimate.objects.create(**key, mean_seconds=seconds, weight=9)
    factories.make_job(bob_in_a, workspace)
    JobAttempt.objects.all().delete()
    Job.objects.update(status=JobStatus.QUEUED.value)
    Dispatcher().run_round()
    found = JobAttempt.objects.values_list("placement__swap_seconds", flat=True)
    assert sorted(found) == [0.0, 0.2]
