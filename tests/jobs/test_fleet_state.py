"""The fleet from rows: conditions, predicted waits, waits that were, and nothing of anybody's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Organization
from jobs.fleet_office import board_context, in_seconds
from jobs.fleet_runs import hit_rates, wait_stats
from jobs.fleet_state import read_fleet
from jobs.fleet_waits import NONE_FITS, Demand, Machine, drain_seconds, loads
from jobs.lifecycle import AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt, RunRecord
from jobs.scheduling import Policy, Tier
from library.models import ModelVersion
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import GIB, PROMPT, AgentHandle
from workspaces.models import Workspace

POLICY = Policy()


def test_a_lone_tier_has_all_machines() -> None:
    drained = drain_seconds({Tier.RELAX: 100.0}, POLICY, 4)
    assert drained[Tier.RELAX] == pytest.approx(25)
    assert drained[Tier.TURBO] == 0


def test_the_most_urgent_has_what_is_not_reserved() -> None:
    policy = Policy(tier_reserves={Tier.FAST: 0.12, Tier.RELAX: 0.2})
    drained = drain_seconds({Tier.TURBO: 80.0, Tier.RELAX: 40.0}, policy, 1)
    assert drained[Tier.TURBO] == pytest.approx(100)  # four fifths of the machine
    assert drained[Tier.RELAX] == pytest.approx(120)  # twenty seconds were done by then
    nothing_reserved = drain_seconds({Tier.TURBO: 5.0, Tier.BACKGROUND: 5.0}, policy, 1)
    assert nothing_reserved[Tier.BACKGROUND] == pytest.approx(10)


def test_who_comes_to_an_empty_tier_waits_for_the_more_urgent() -> None:
    machine = Machine(gpu_class="gpu", memory_bytes=9, free_in_seconds=3)

    def waits(seconds: float) -> dict[Tier, float]:
        demand = Demand(tier=Tier.FAST, memory_bytes=1, jobs=1, seconds=seconds)
        [load] = loads([machine], [demand], POLICY)
        return dict(load.waits)

    few, many = waits(50), waits(5000)
    assert few[Tier.TURBO] == pytest.approx(3)
    assert few[Tier.FAST] == few[Tier.RELAX] == few[Tier.BACKGROUND] == pytest.approx(53)
    # Relax's fifth is due once it lags by 40 s: after 200 s.
    assert many[Tier.RELAX] == pytest.approx(203)
    assert many[Tier.BACKGROUND] == pytest.approx(4003)


def test_work_waits_for_the_machines_that_can_take_it() -> None:
    machines = [
        Machine(gpu_class="large", memory_bytes=80, free_in_seconds=7),
        Machine(gpu_class="small", memory_bytes=20),
        Machine(gpu_class="small", memory_bytes=20),
    ]
    demands = [
        Demand(tier=Tier.FAST, memory_bytes=50, jobs=1, seconds=30),
        Demand(tier=Tier.FAST, memory_bytes=10, jobs=3, seconds=60),
        Demand(tier=Tier.RELAX, memory_bytes=500, jobs=1, seconds=9),
    ]
    found = {load.gpu_class: load for load in loads(machines, demands, POLICY)}
    assert found["large"].seconds == {Tier.FAST: pytest.approx(50)}
    assert found["large"].waits[Tier.FAST] == pytest.approx(57)
    assert found["large"].waits[Tier.TURBO] == 7
    assert found["small"].waits[Tier.FAST] == pytest.approx(20)
    assert (found[NONE_FITS].machines, found[NONE_FITS].waits[Tier.RELAX]) == (0, 9)


def test_no_machine_at_all_shows_a_wait() -> None:
    [load] = loads([], [Demand(tier=Tier.TURBO, memory_bytes=1, jobs=1, seconds=42)], POLICY)
    assert (load.gpu_class, load.waits[Tier.TURBO]) == (NONE_FITS, 42)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (1.25, "1.2 s"),
        (42.4, "42 s"),
        (89.9, "90 s"),
        (95, "1 min 35 s"),
        (600, "10 min"),
        (3_700, "1 h 1 min"),
    ],
)
def test_lengths_of_time_in_words(seconds: float | None, words: str) -> None:
    assert in_seconds(seconds) == words


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({}, "idle"),
        ({"is_ready": False}, "loading"),
        ({"state": "draining"}, "drained"),
        ({"state": "maintenance"}, "maintenance"),
        ({"state": "maintenance", "sick_code": "x"}, "sick"),
        ({"is_draining": True}, "leaving"),
        ({"last_seen_at": timezone.now() - timedelta(hours=1)}, "lost"),
        (
            {"last_seen_at": timezone.now() - timedelta(hours=1), "is_draining": True},
            "stopped",
        ),
        ({"last_seen_at": None, "registered_at": None}, "new"),
    ],
)
def test_conditions(agent: AgentHandle, change: dict[str, object], condition: str) -> None:
    Agent.objects.filter(pk=agent.row.pk).update(**change)
    [line] = read_fleet().agents
    assert line.condition == condition


@pytest.mark.django_db
def test_the_board_tells_kinds_and_never_whose_or_what(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=2)
    attempt = factories.make_attempt(job, agent.row)
    factories.make_job(bob_in_a, workspace)
    paused = factories.make_job(bob_in_a, workspace)
    with system_scope():
        Job.objects.update(cost_seconds=60.0)
        Job.objects.filter(pk=paused.pk).update(paused_at=timezone.now())
        JobAttempt.objects.filter(pk=attempt.pk).update(
            charged_seconds=60.0,
            status=AttemptStatus.RUNNING.value,
            claimed_at=timezone.now(),
            started_at=timezone.now(),
        )
    Agent.objects.update(warm=[model_version.digest, "f" * 64])

    state = read_fleet()

    [line] = state.agents
    [work] = line.work
    assert (line.condition, work.status, work.count, work.kind) == (
        "working",
        "running",
        2,
        "text_to_picture",
    )
    assert line.warm == ["House", "private ffffffff"]
    fast = next(tier for tier in state.tiers if tier.tier is Tier.FAST)
    assert (fast.queued, fast.running) == (1, 1)
    assert fast.queued_seconds == pytest.approx(60.0)
    assert fast.predicted_seconds > fast.queued_seconds
    told = repr(board_context(state, can_manage=True))
    for secret in (job.pk, workspace.pk, workspace.organization_id, bob_in_a.user_id, PROMPT):
        assert secret not in told


@pytest.mark.django_db
def test_a_model_of_an_organizations_own_is_not_named(
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    organization_a: Organization,
    agent: AgentHandle,
    tmp_path: Path,
) -> None:
    folder = factories.make_tiny_folder(tmp_path / "own", weights=b"own")
    own = factories.make_model_version(
        organization=organization_a, folder=folder, name="Secret product"
    )
    job = factories.make_job(bob_in_a, workspace, model=own.digest)
    factories.make_attempt(job, agent.row)
    Agent.objects.update(warm=[own.digest])
    told = repr(read_fleet())
    assert f"private {own.digest[:8]}" in told
    assert "Secret product" not in told


def record(organization: Organization, agent: Agent, number: int, **values: object) -> None:
    defaults: dict[str, object] = {
        "attempt_id": f"att_{number}",
        "gpu_class": "cpu",
        "job_type": "text_to_picture",
        "tier": "fast",
        "model_digest": "d",
        "width": 64,
        "height": 64,
        "steps": 20,
        "pictures": 1,
        "status": "succeeded",
        "ended_at": timezone.now(),
    }
    with system_scope():
        RunRecord.objects.create(
            organization=organization,
            agent=agent,
            **{**defaults, **values},
        )


@pytest.mark.django_db
@pytest.mark.usefixtures("system")
def test_waits_are_held_against_the_objectives(
    organization_a: Organization, organization_b: Organization, agent: AgentHandle
) -> None:
    since = timezone.now() - timedelta(hours=1)
    assert wait_stats(since=since) == {}
    waits = [1.0, 2.0, 3.0, 4.0, 20.0]
    for number, wait in enumerate(waits):
        organization = (organization_a, organization_b)[number % 2]
        record(organization, agent.row, number, wait_seconds=wait, run_seconds=10.0)
    record(organization_a, agent.row, 10, wait_seconds=None)
    record(organization_a, agent.row, 11, wait_seconds=5.0, status="failed")
    record(organization_a, agent.row, 12, wait_seconds=9.0, ended_at=since)
    record(organization_a, agent.row, 13, tier="background", wait_seconds=9.0)

    found = wait_stats(since=since)

    fast = found[Tier.FAST]
    assert fast.runs == 6
    assert fast.wait_p50 == pytest.approx(3.5)
    assert fast.wait_p95 == pytest.approx(16.25)
    assert fast.whole_p50 == pytest.approx(13)
    assert fast.kept == pytest.approx(5 / 6)
    assert found[Tier.BACKGROUND].kept is None
    assert set(found) == {Tier.FAST, Tier.BACKGROUND}


@pytest.mark.django_db
@pytest.mark.usefixtures("system")
def test_hit_rates_say_where_models_were_found(
    organization_a: Organization, agent: AgentHandle
) -> None:
    for number, source in enumerate(["gpu", "gpu", "gpu", "disk", ""]):
        record(organization_a, agent.row, number, load_source=source)
    since = timezone.now() - timedelta(hours=1)
    assert hit_rates(since=since) == {agent.row.pk: {"gpu": 0.75, "disk": 0.25}}
    [line] = read_fleet().agents
    assert line.hits == {"gpu": 0.75, "disk": 0.25}


@pytest.mark.django_db
def test_a_job_that_fits_nowhere_is_shown_as_such(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    with system_scope():
        Job.objects.filter(pk=job.pk).update(memory_bytes=999 * GIB, cost_seconds=77)
        assert Job.objects.filter(status=JobStatus.QUEUED.value).count() == 1
    state = read_fleet()
    nowhere = next(each for each in state.classes if each.gpu_class == NONE_FITS)
    assert nowhere.seconds == {Tier.FAST: 77}
    fast = next(tier for tier in state.tiers if tier.tier is Tier.FAST)
    assert fast.predicted_seconds == 77
