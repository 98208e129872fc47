"""The queue's books: adding, removing, waking, saving, and what it tells the owner."""

from __future__ import annotations

import json

import pytest

from jobs.scheduling import (
    AgentView,
    FairState,
    Policy,
    Queue,
    Tier,
    WaitReason,
    explain,
    plan,
    refund,
)
from tests.jobs.scheduling_factories import (
    make_agent,
    make_job,
    make_queue,
    place_all,
    place_one,
)

NO_WINDOW = Policy(window_seconds=0.0, default_swap_seconds=0.0)


def test_removed_job_is_gone() -> None:
    queue = make_queue(make_job("job_1"), make_job("job_2"))
    assert queue.remove("job_1") is not None
    assert queue.remove("job_1") is None
    assert "job_1" not in queue
    assert len(queue) == 1
    assert place_all(queue) == ["job_2"]
    assert queue.head(Tier.FAST, "org_alpha", "usr_alice") is None


def test_job_added_again_replaces_itself() -> None:
    queue = make_queue(make_job("job_1"), make_job("job_2"))
    queue.add(make_job("job_1", position=5))
    assert place_all(queue) == ["job_2", "job_1"]


def test_idle_flow_wakes_at_the_minimum_of_those_that_wait() -> None:
    # Given beta alone for long
    queue = make_queue(*[make_job(organization="org_beta") for _ in range(40)], policy=NO_WINDOW)
    for _ in range(20):
        place_one(queue)
    # When alpha comes with a burst
    for _ in range(40):
        queue.add(make_job(organization="org_alpha"))
    # Then they share
    owners = [place_one(queue).job.organization_id for _ in range(20)]
    assert owners.count("org_alpha") == pytest.approx(10, abs=1)


def test_nobody_is_owed_anything_once_the_queue_was_empty() -> None:
    queue = make_queue(*[make_job(organization="org_beta") for _ in range(20)], policy=NO_WINDOW)
    place_all(queue)
    for _ in range(20):
        queue.add(make_job(organization="org_alpha"))
        queue.add(make_job(organization="org_beta"))
    owners = [place_one(queue).job.organization_id for _ in range(20)]
    assert owners.count("org_alpha") == pytest.approx(10, abs=1)


def test_debt_is_not_shed_by_a_moment_of_absence() -> None:
    # Given beta, which was just served, and gamma, which waits
    queue = make_queue(
        make_job(organization="org_beta", cost=50.0),
        *[make_job(organization="org_gamma", at=1.0) for _ in range(20)],
        policy=NO_WINDOW,
    )
    assert place_one(queue).job.organization_id == "org_beta"
    # When beta comes back at once
    for _ in range(20):
        queue.add(make_job(organization="org_beta", at=2.0))
    # Then gamma catches up first
    owners = [place_one(queue).job.organization_id for _ in range(5)]
    assert owners == ["org_gamma"] * 5


def test_refund_after_the_queue_was_empty_is_no_credit() -> None:
    queue = make_queue(make_job(organization="org_alpha", cost=100.0), policy=NO_WINDOW)
    refund(queue, place_one(queue).charge)
    for _ in range(20):
        queue.add(make_job(organization="org_alpha"))
        queue.add(make_job(organization="org_beta"))
    owners = [place_one(queue).job.organization_id for _ in range(10)]
    assert owners.count("org_alpha") == pytest.approx(5, abs=1)


def test_debt_survives_a_restart_though_its_owner_is_away() -> None:
    # Given beta, served at length and gone, while gamma waits
    gammas = [make_job(organization="org_gamma", at=1.0) for _ in range(20)]
    beta = make_job(organization="org_beta", cost=50.0)
    queue = make_queue(beta, *gammas, policy=NO_WINDOW)
    assert place_one(queue).job == beta
    # When the dispatcher is started again and beta comes back
    state = FairState.from_json(queue.state.to_json())
    restored = Queue(policy=NO_WINDOW, state=state, waiting=gammas)
    restored.add(make_job(organization="org_beta"))
    # Then gamma catches up first
    owners = [place_one(restored).job.organization_id for _ in range(5)]
    assert owners == ["org_gamma"] * 5


def test_nobody_is_owed_anything_if_the_queue_emptied_during_a_restart() -> None:
    queue = make_queue(
        make_job(organization="org_alpha", at=1.0),
        *[make_job(organization="org_beta", cost=50.0) for _ in range(3)],
        policy=NO_WINDOW,
    )
    place_one(queue)
    state = FairState.from_json(queue.state.to_json())
    restored = Queue(policy=NO_WINDOW, state=state)
    for _ in range(20):
        restored.add(make_job(organization="org_alpha"))
        restored.add(make_job(organization="org_beta"))
    owners = [place_one(restored).job.organization_id for _ in range(10)]
    assert owners.count("org_beta") == pytest.approx(5, abs=1)


def test_restart_changes_no_turn() -> None:
    jobs = [
        make_job(organization=f"org_{n % 3}", user=f"usr_{n % 7}", cost=3.0 + n % 5, at=float(n))
        for n in range(120)
    ]
    queue = make_queue(*jobs, policy=NO_WINDOW)
    for _ in range(40):
        place_one(queue)
    saved = json.dumps(queue.state.to_json())
    rows = [job for job in jobs if job.id in queue]
    restored = Queue(
        policy=NO_WINDOW, state=FairState.from_json(json.loads(saved)), waiting=reversed(rows)
    )
    assert json.dumps(restored.state.to_json()) == saved
    assert place_all(restored) == place_all(queue)


def test_flow_whose_jobs_vanished_during_a_restart_gets_no_credit() -> None:
    queue = make_queue(
        make_job(organization="org_alpha", at=1.0),
        *[make_job(organization="org_beta") for _ in range(60)],
        policy=NO_WINDOW,
    )
    place_one(queue)
    saved = queue.state.to_json()
    rows = [make_job(organization="org_beta") for _ in range(60)]
    restored = Queue(policy=NO_WINDOW, state=FairState.from_json(saved), waiting=rows)
    for _ in range(20):
        place_one(restored)
    for _ in range(20):
        restored.add(make_job(organization="org_alpha"))
    owners = [place_one(restored).job.organization_id for _ in range(10)]
    assert owners.count("org_alpha") == pytest.approx(5, abs=1)


def test_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        FairState.from_json({"version": 99})


def test_state_forgets_those_who_can_be_owed_nothing() -> None:
    queue = make_queue(*[make_job(organization=f"org_{n}") for n in range(50)])
    place_all(queue)
    queue.add(make_job(organization="org_0"))
    assert len(list(queue.state.walk())) == 3


def test_position_is_the_turn_that_comes() -> None:
    jobs = [
        make_job(
            f"job_{n:03d}",
            organization=f"org_{n % 3}",
            user=f"usr_{n % 5}",
            tier=[Tier.TURBO, Tier.FAST][n % 2],
            cost=10.0,
            at=float(n),
        )
        for n in range(60)
    ]
    queue = make_queue(*jobs, policy=NO_WINDOW)
    told = {}
    for job in jobs:
        explanation = explain(queue, job.id, [make_agent()], now=0.0)
        assert explanation is not None
        assert explanation.seconds_ahead == pytest.approx(10.0 * explanation.jobs_ahead)
        told[job.id] = explanation.position
    turns = {job_id: turn for turn, job_id in enumerate(place_all(queue), 1)}
    assert all(abs(told[job_id] - turns[job_id]) <= 3 for job_id in turns)


def test_position_counts_own_jobs_exactly_when_alone() -> None:
    queue = make_queue(*[make_job(f"job_{n}", at=float(n)) for n in range(5)])
    explanation = explain(queue, "job_3", [make_agent()], now=0.0)
    assert explanation is not None
    assert (explanation.position, explanation.own_jobs_ahead) == (4, 3)
    assert explanation.reason == WaitReason.OWN_JOBS_FIRST
    assert explanation.seconds_ahead == 30.0


def test_explanation_names_what_the_job_waits_for() -> None:
    queue = make_queue(
        make_job("job_first"),
        make_job("job_other", organization="org_beta", at=1.0),
        policy=Policy(organization_cap=4),
    )

    def reason(job_id: str, *agents: AgentView, alpha_running: int = 0) -> tuple[str, object]:
        explanation = explain(
            queue,
            job_id,
            agents,
            now=10.0,
            in_flight={"org_alpha": alpha_running},
        )
        assert explanation is not None
        return explanation.reason, dict(explanation.data)

    busy = make_agent(busy_until=14.0)
    assert reason("job_first") == (WaitReason.NO_AGENT, {})
    assert reason("job_first", make_agent(gib=1))[0] == WaitReason.DOES_NOT_FIT
    assert reason("job_first", make_agent()) == (WaitReason.NEXT, {})
    assert reason("job_first", busy) == (
        WaitReason.AGENTS_BUSY,
        {"agents": 1, "free_in_seconds": 4.0},
    )
    assert reason("job_other", busy) == (WaitReason.OTHERS_FIRST, {"jobs": 1, "own_jobs": 0})
    assert reason("job_first", busy, alpha_running=4) == (
        WaitReason.ORGANIZATION_LIMIT,
        {"in_flight": 4, "limit": 4},
    )
    assert explain(queue, "job_unknown", [busy], now=10.0) is None


def test_new_kinds_of_agents_may_come_and_go() -> None:
    queue = make_queue(*[make_job(gib=8) for _ in range(40)])
    for gib in range(1, 31):
        made = plan(queue, [make_agent(gib=gib)], now=0.0)
        assert len(made.placements) == (1 if gib >= 8 else 0)
