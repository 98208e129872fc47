"""When an attempt ends: what it took is noted, and teaches what the next one will cost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.actors import Actor
from gpuagent.protocol.messages import AttemptFinish
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.costs import LOAD, LOAD_CACHED, STEP, cost_of, load_seconds
from jobs.estimates import passes_of, step_keys
from jobs.models import Agent, CostEstimate, Job, JobAttempt, RunRecord
from jobs.recipes import open_recipe
from jobs.services.cancellation import cancel_job
from jobs.services.leasing import expire_overdue
from jobs.services.ordering import pause_job, resume_job
from jobs.services.reporting import finish_attempt
from library.models import ModelVersion
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import GIB, AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]
TIMINGS: dict[str, object] = {
    "claim": 0.1,
    "load": 3.0,
    "encode_prompt": 0.2,
    "denoise": 1.5,
    "decode": 0.3,
    "total": 9.0,
}


@pytest.fixture
def attempt(bob_in_a: Actor, workspace: Workspace, agent: AgentHandle) -> JobAttempt:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=2, tier="turbo")
    return factories.make_attempt(job, agent.row)


def succeed(attempt: JobAttempt, agent: Agent, timings: dict[str, object] = TIMINGS) -> RunRecord:
    factories.run_attempt(attempt, agent, finish=False)
    finish = AttemptFinish(fence=attempt.fence, status="succeeded", timings=timings)
    finish_attempt(agent, attempt.pk, finish)
    return RunRecord.objects.get(attempt_id=attempt.pk)


def test_a_success_is_noted_with_numbers(attempt: JobAttempt, agent: AgentHandle) -> None:
    record = succeed(attempt, agent.row)

    assert (record.status, record.tier, record.pictures) == ("succeeded", "turbo", 2)
    assert (record.width, record.height, record.gpu_class) == (128, 128, "cpu")
    assert record.run_seconds == pytest.approx(2.0)
    assert record.load_seconds == 3.0
    assert record.estimated_seconds == attempt.job.cost_seconds
    assert record.wait_seconds is not None
    assert 0 <= record.wait_seconds < 30
    columns = {field.name for field in RunRecord._meta.get_fields()}
    assert factories.PROMPT not in str([getattr(record, name) for name in columns])


def test_memory_is_kept_with_the_version_and_planned_with(
    attempt: JobAttempt, agent: AgentHandle, model_version: ModelVersion
) -> None:
    recipe = parse_recipe({"model": model_version.digest, "prompt": "x", "seed": 1})
    before = cost_of(recipe, model_version).memory_bytes

    succeed(attempt, agent.row, {**TIMINGS, "model_bytes": GIB, "peak_memory_bytes": 2 * GIB})

    with system_scope():
        model_version.refresh_from_db()
    assert model_version.memory == {"cpu": {"resident_bytes": GIB, "peak_bytes": 2 * GIB}}
    after = cost_of(recipe, model_version).memory_bytes
    assert after - before == pytest.approx(GIB - 2 * model_version.weights_bytes, abs=4)


def test_a_pass_is_learned_without_the_swap(attempt: JobAttempt, agent: AgentHandle) -> None:
    succeed(attempt, agent.row)

    passes = passes_of(open_recipe(attempt.job))
    step = CostEstimate.objects.get(kind=STEP, key=attempt.job.model_version.digest)
    assert step.mean_seconds == pytest.approx(2.0 / passes)
    assert CostEstimate.objects.filter(kind=STEP).count() == 2  # at this size, and at any
    load = CostEstimate.objects.get(kind=LOAD)
    assert (load.mean_seconds, load.gpu_class) == (3.0, "cpu")


def test_a_model_that_was_there_teaches_nothing_about_loading(
    attempt: JobAttempt, agent: AgentHandle
) -> None:
    succeed(attempt, agent.row, {**TIMINGS, "load": 0.001})
    assert not CostEstimate.objects.filter(kind=LOAD).exists()


def test_loading_from_host_memory_is_learned_apart(attempt: JobAttempt, agent: AgentHandle) -> None:
    record = succeed(attempt, agent.row, {**TIMINGS, "load": 0.4, "load_source": "host"})
    assert record.load_source == "host"
    assert load_seconds({record.model_digest}) == {}
    assert load_seconds({record.model_digest}, kind=LOAD_CACHED) == {record.model_digest: 0.4}


def test_the_next_estimate_comes_closer_to_what_runs_took(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    first = factories.make_job(bob_in_a, workspace)
    for _ in range(12):
        job = factories.make_job(bob_in_a, workspace)
        succeed(factories.make_attempt(job, agent.row), agent.row, {"denoise": 50.0})

    later = factories.make_job(bob_in_a, workspace)

    assert abs(later.cost_seconds - 50.0) < abs(first.cost_seconds - 50.0) / 5


def test_the_slowest_kind_of_machine_that_fits_is_what_is_told(
    model_version: ModelVersion, agent: AgentHandle
) -> None:
    recipe = parse_recipe({"model": model_version.digest, "prompt": "x", "seed": 1})
    fast, small = factories.make_agent("fast"), factories.make_agent("small")
    Agent.objects.filter(pk=fast.row.pk).update(gpu_class="NVIDIA H200")
    Agent.objects.filter(pk=small.row.pk).update(gpu_class="slow and small", memory_bytes=GIB // 64)
    for name, seconds in (("cpu", 9.0), ("NVIDIA H200", 0.1), ("slow and small", 999.0)):
        for key in step_keys(model_version.digest, recipe):
            CostEstimate.objects.create(
                gpu_class=name, kind=STEP, key=key, mean_seconds=seconds, weight=1_000_000
            )

    assert cost_of(recipe, model_version).seconds == pytest.approx(9.0 * passes_of(recipe), 0.01)
    Agent.objects.filter(pk=agent.row.pk).update(is_draining=True)
    assert cost_of(recipe, model_version).seconds == pytest.approx(0.1 * passes_of(recipe), 0.01)


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"denoise": float("nan"), "load": float("inf")},
        {"denoise": -1, "load": "3", "decode": None},
        {"denoise": True, "load": [1]},
        {"denoise": 10**400, "peak_memory_bytes": 10**400},
        {"load_source": "../../etc/passwd", "load": 1e9},
    ],
)
def test_nonsense_from_an_agent_breaks_nothing_and_teaches_nothing(
    attempt: JobAttempt, agent: AgentHandle, junk: dict[str, object]
) -> None:
    record = succeed(attempt, agent.row, junk)

    assert record.load_seconds == 0
    assert record.load_source == ""
    assert record.peak_memory_bytes is None
    assert attempt.job.model_version.memory == {}
    assert not CostEstimate.objects.exists()


def test_while_no_machine_takes_work_the_known_ones_are_expected(
    model_version: ModelVersion, agent: AgentHandle
) -> None:
    recipe = parse_recipe({"model": model_version.digest, "prompt": "x", "seed": 1})
    key = model_version.digest
    CostEstimate.objects.create(gpu_class="cpu", kind=STEP, key=key, mean_seconds=9.0, weight=1e6)
    before = cost_of(recipe, model_version)
    Agent.objects.filter(pk=agent.row.pk).update(last_seen_at=None)
    assert cost_of(recipe, model_version) == before
    Agent.objects.filter(pk=agent.row.pk).update(removed_at=timezone.now())
    assert cost_of(recipe, model_version).seconds < before.seconds


def test_a_canceled_and_a_lost_attempt_are_noted_and_teach_nothing(
    attempt: JobAttempt, agent: AgentHandle, bob_in_a: Actor, workspace: Workspace
) -> None:
    cancel_job(job=attempt.job, actor=bob_in_a)
    finish = AttemptFinish(fence=attempt.fence, status="canceled", timings=TIMINGS)
    finish_attempt(agent.row, attempt.pk, finish)
    lost = factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    factories.overdue(lost)
    expire_overdue()

    records = RunRecord.objects.order_by("id").values_list("status", "error_code", "wait_seconds")
    assert [(status, code) for status, code, _wait in records] == [
        ("canceled", ""),
        ("expired", "agent.lost"),
    ]
    assert records[1][2] is None  # it never began
    assert not CostEstimate.objects.exists()


def test_only_a_first_attempt_has_waited(attempt: JobAttempt, agent: AgentHandle) -> None:
    factories.overdue(attempt)
    expire_overdue()
    again = factories.make_attempt(Job.objects.get(pk=attempt.job_id), agent.row)

    assert succeed(again, agent.row).wait_seconds is None


def test_the_time_of_a_pause_is_not_waiting(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    hour = timedelta(hours=1)
    Job.objects.filter(pk=job.pk).update(submitted_at=F("submitted_at") - hour)
    pause_job(job=job, actor=bob_in_a)
    Job.objects.filter(pk=job.pk).update(paused_at=timezone.now() - hour)
    resume_job(job=job, actor=bob_in_a)

    record = succeed(factories.make_attempt(job, agent.row), agent.row)

    assert record.wait_seconds is not None
    assert record.wait_seconds < 60
