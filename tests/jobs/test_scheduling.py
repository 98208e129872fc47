"""The rules of placement, one by one."""

from __future__ import annotations

import pytest

from jobs.scheduling import AgentView, Policy, Tier, WaitReason, plan, refund, settle
from tests.jobs.scheduling_factories import (
    GIB,
    make_agent,
    make_job,
    make_queue,
    place_all,
    place_one,
)

NO_WINDOW = Policy(window_seconds=0.0)


def test_owner_orders_own_jobs_by_position_then_time_then_id() -> None:
    queue = make_queue(
        make_job("job_4", position=1, at=0.0),
        make_job("job_3", at=2.0),
        make_job("job_2", at=1.0),
        make_job("job_1", at=1.0),
    )
    head = queue.head(Tier.FAST, "org_alpha", "usr_alice")
    assert head is not None
    assert head.id == "job_1"
    assert place_all(queue) == ["job_1", "job_2", "job_3", "job_4"]


def test_tiers_share_by_weight() -> None:
    jobs = [make_job(tier=tier, cost=1.0) for tier in Tier for _ in range(200)]
    queue = make_queue(*jobs, policy=Policy(window_seconds=0.0, default_swap_seconds=0.0))
    tiers = [place_one(queue).job.tier for _ in range(161)]
    assert tiers.count(Tier.TURBO) == pytest.approx(100, abs=2)
    assert tiers.count(Tier.FAST) == pytest.approx(50, abs=2)
    assert tiers.count(Tier.RELAX) == pytest.approx(10, abs=2)
    assert tiers.count(Tier.BACKGROUND) == 1


def test_users_share_within_their_organization_and_organizations_within_their_tier() -> None:
    # Given three artists of alpha and one of beta
    jobs = [make_job(user=f"usr_{name}") for name in "abc" for _ in range(30)]
    jobs += [make_job(organization="org_beta", user="usr_d") for _ in range(30)]
    queue = make_queue(*jobs, policy=NO_WINDOW)
    placed = [place_one(queue).job for _ in range(48)]
    # Then beta gets half, and each of alpha's a third of the other half
    users = [job.user_id for job in placed]
    assert users.count("usr_d") == pytest.approx(24, abs=1)
    assert all(users.count(f"usr_{name}") == pytest.approx(8, abs=1) for name in "abc")


def test_resident_model_goes_first_inside_the_window_only() -> None:
    policy = Policy(window_seconds=25.0, default_swap_seconds=0.5)
    jobs = [make_job(organization="org_beta", user="usr_bob", model="model_b", at=0.0)]
    jobs += [make_job(model="model_a", at=1.0) for _ in range(5)]
    queue = make_queue(*jobs, policy=policy)
    order = [place_one(queue, make_agent(resident=["model_a"])).job for _ in range(4)]
    # 0, 10 and 20 seconds are within 25 of beta's 0; 30 are not.
    assert [job.model_digest for job in order] == ["model_a"] * 3 + ["model_b"]


def test_window_holds_among_the_users_of_an_organization() -> None:
    policy = Policy(window_seconds=25.0)
    jobs = [make_job(user="usr_bob", model="model_b")]
    jobs += [make_job(user="usr_alice", model="model_a", at=1.0) for _ in range(5)]
    queue = make_queue(*jobs, policy=policy)
    order = [place_one(queue, make_agent(resident=["model_a"])).job for _ in range(4)]
    assert [job.model_digest for job in order] == ["model_a"] * 3 + ["model_b"]


def test_window_of_a_tier_is_narrower_the_more_it_weighs() -> None:
    policy = Policy(window_seconds=25.0)
    jobs = [make_job(tier=Tier.RELAX, model="model_b")]
    jobs += [make_job(tier=Tier.TURBO, model="model_a", at=1.0) for _ in range(9)]
    queue = make_queue(*jobs, policy=policy)
    order = [place_one(queue, make_agent(resident=["model_a"])).job for _ in range(4)]
    # Turbo may be 25/10 ahead of relax's 0; each of its jobs counts 10/10.
    assert [job.model_digest for job in order] == ["model_a"] * 3 + ["model_b"]


def test_user_cannot_be_kept_waiting_by_own_jobs_with_a_resident_model() -> None:
    policy = Policy(window_seconds=25.0)
    jobs = [make_job("job_0", model="model_b")]
    jobs += [make_job(f"job_{n}", model="model_a") for n in range(1, 9)]
    queue = make_queue(*jobs, policy=policy)
    agent = make_agent(resident=["model_a"])
    order = [place_one(queue, agent).job_id for _ in range(5)]
    assert order == ["job_1", "job_2", "job_3", "job_0", "job_4"]


def test_job_goes_to_another_idle_agent_that_holds_its_model() -> None:
    queue = make_queue(make_job("job_a", model="model_a"))
    agents = [make_agent("agt_1"), make_agent("agt_2", resident=["model_a"])]
    (placement,) = plan(queue, agents, now=0.0).placements
    assert placement.agent_id == "agt_2"
    assert not placement.is_swap


def test_agent_that_sent_a_job_on_still_gets_one() -> None:
    queue = make_queue(make_job("job_a", model="model_a"), make_job("job_b", model="model_b"))
    agents = [make_agent("agt_1"), make_agent("agt_2", resident=["model_a"])]
    placements = plan(queue, agents, now=0.0).placements
    assert {(p.job_id, p.agent_id) for p in placements} == {("job_a", "agt_2"), ("job_b", "agt_1")}


def test_job_does_not_wait_for_a_busy_agent_that_holds_its_model() -> None:
    queue = make_queue(make_job("job_a", model="model_a"))
    busy = make_agent("agt_2", resident=["model_a"], busy_until=1.0)
    (placement,) = plan(queue, [make_agent("agt_1"), busy], now=0.0).placements
    assert placement.agent_id == "agt_1"


def test_model_in_host_memory_comes_before_one_on_disk() -> None:
    queue = make_queue(make_job(model="model_a", at=0.0), make_job(model="model_b", at=1.0))
    placement = place_one(queue, make_agent(cached=["model_b"]))
    assert placement.job.model_digest == "model_b"
    assert placement.swap_seconds == queue.policy.cached_swap_seconds


def test_swap_is_charged_to_the_job_that_causes_it() -> None:
    policy = Policy(swap_seconds={"model_a": 7.0})
    queue = make_queue(*[make_job(cost=10.0) for _ in range(3)], policy=policy)
    assert place_one(queue).charged_seconds == 17.0
    assert place_one(queue, make_agent(resident=["model_a"])).charged_seconds == 10.0


def test_settling_and_refunding_correct_the_books() -> None:
    policy = Policy(window_seconds=0.0, default_swap_seconds=0.0)
    jobs = [make_job(organization=f"org_{n}", at=n) for n in (1, 2) for _ in range(9)]
    queue = make_queue(*jobs, policy=policy)
    # Given one job each, of which the first took four times as long and the second nothing
    first, second = place_one(queue), place_one(queue)
    settle(queue, first.charge, 40.0)
    refund(queue, second.charge)
    # Then the second organization gets the next four
    owners = [place_one(queue).job.organization_id for _ in range(5)]
    assert owners == ["org_2"] * 4 + ["org_1"]


def test_limit_of_an_organization_holds_and_earns_it_no_credit() -> None:
    policy = Policy(window_seconds=0.0, in_flight_cap=1)
    jobs = [make_job(organization="org_alpha") for _ in range(50)]
    jobs += [make_job(organization="org_beta", at=1.0) for _ in range(50)]
    queue = make_queue(*jobs, policy=policy)
    # Given alpha held back by its limit while beta is served twenty times
    for _ in range(20):
        (placement,) = plan(queue, [make_agent()], now=0.0, in_flight={"org_alpha": 1}).placements
        assert placement.job.organization_id == "org_beta"
    # When it may run again, then it gets its half and not more
    owners = [place_one(queue).job.organization_id for _ in range(10)]
    assert owners.count("org_alpha") == pytest.approx(5, abs=1)


def test_tier_held_back_by_a_limit_earns_no_credit_for_others_in_it() -> None:
    policy = Policy(window_seconds=0.0, in_flight_cap=1, default_swap_seconds=0.0)
    jobs = [make_job(organization="org_alpha", tier=Tier.FAST) for _ in range(9)]
    jobs += [make_job(organization="org_beta", tier=Tier.RELAX, at=1.0) for _ in range(90)]
    queue = make_queue(*jobs, policy=policy)
    # Given the only organization in fast held back while relax is served
    for _ in range(40):
        assert plan(queue, [make_agent()], now=0.0, in_flight={"org_alpha": 1}).placements
    # When another one comes to fast, then fast gets its five of six, not all that it missed
    for _ in range(90):
        queue.add(make_job(organization="org_gamma", tier=Tier.FAST, at=2.0))
    tiers = [place_one(queue).job.tier for _ in range(24)]
    assert tiers.count(Tier.RELAX) == pytest.approx(4, abs=1)


def test_limit_counts_what_the_same_plan_places() -> None:
    queue = make_queue(*[make_job() for _ in range(5)], policy=Policy(in_flight_cap=2))
    agents = [make_agent(f"agt_{n}") for n in range(4)]
    assert len(plan(queue, agents, now=0.0).placements) == 2


def test_staging_waits_until_the_running_job_is_nearly_done() -> None:
    queue = make_queue(make_job())
    assert not plan(queue, [make_agent(busy_until=60.0)], now=0.0).placements
    assert plan(queue, [make_agent(busy_until=60.0)], now=56.0).placements


def test_idle_agent_comes_before_staging() -> None:
    queue = make_queue(make_job())
    agents = [make_agent("agt_1", busy_until=1.0), make_agent("agt_2")]
    (placement,) = plan(queue, agents, now=0.0).placements
    assert placement.agent_id == "agt_2"


def test_agents_kept_for_short_jobs_take_no_long_ones() -> None:
    policy = Policy(floor_agents=1, floor_seconds=30.0)
    queue = make_queue(*[make_job(cost=100.0) for _ in range(5)], policy=policy)
    agents = [make_agent("agt_1"), make_agent("agt_2")]
    (placement,) = plan(queue, agents, now=0.0).placements
    assert placement.agent_id == "agt_2"
    queue.add(make_job("job_short", cost=5.0))
    (placement,) = plan(queue, [*agents[:1], make_agent("agt_2", slots=0)], now=0.0).placements
    assert (placement.job_id, placement.agent_id) == ("job_short", "agt_1")


def test_the_only_agent_that_fits_long_jobs_is_never_kept_for_short_ones() -> None:
    policy = Policy(floor_agents=5)
    queue = make_queue(make_job(cost=100.0, gib=40), policy=policy)
    made = plan(queue, [make_agent("agt_1", gib=8), make_agent("agt_2", gib=80)], now=0.0)
    assert [p.agent_id for p in made.placements] == ["agt_2"]


def test_draining_agent_gets_nothing() -> None:
    queue = make_queue(make_job())
    assert not plan(queue, [make_agent(is_accepting=False)], now=0.0).placements


@pytest.mark.parametrize(
    ("agents", "reason", "data"),
    [
        ([], WaitReason.NO_AGENT, {}),
        ([make_agent(gib=24, is_accepting=False)], WaitReason.NO_AGENT, {}),
        (
            [make_agent(gib=80, is_accepting=False, labels=frozenset({"eu"}))],
            WaitReason.AGENT_DRAINING,
            {"draining": 1},
        ),
        (
            [make_agent(gib=24)],
            WaitReason.DOES_NOT_FIT,
            {"needed_bytes": 40 * GIB, "largest_bytes": 24 * GIB},
        ),
        ([make_agent(gib=80)], WaitReason.MISSING_LABEL, {"labels": "eu"}),
    ],
)
def test_job_that_no_agent_can_take_is_reported(
    agents: list[AgentView], reason: WaitReason, data: dict[str, int | str]
) -> None:
    queue = make_queue(make_job("job_1", gib=40, labels=frozenset({"eu"})))
    made = plan(queue, agents, now=0.0)
    (unplaceable,) = made.unplaceable
    assert not made.placements
    assert (unplaceable.reason, unplaceable.data, unplaceable.jobs) == (reason, data, 1)
    assert queue.jobs_needing(unplaceable.need) == ("job_1",)


def test_job_that_fits_nowhere_stops_nobody_and_earns_no_credit() -> None:
    queue = make_queue(
        make_job("job_big", gib=500),
        *[make_job(organization="org_beta", at=1.0) for _ in range(60)],
        policy=NO_WINDOW,
    )
    # Given alpha with an impossible job while beta is served
    for _ in range(20):
        assert place_one(queue).job.organization_id == "org_beta"
    # When alpha brings possible ones, then it shares from now on
    for _ in range(30):
        queue.add(make_job(at=2.0))
    owners = [place_one(queue).job.organization_id for _ in range(10)]
    assert owners.count("org_alpha") == pytest.approx(5, abs=1)


@pytest.mark.parametrize("cost", [0.0, -1.0, float("inf"), float("nan")])
def test_estimate_must_be_a_positive_number(cost: float) -> None:
    with pytest.raises(ValueError, match="cost_seconds"):
        make_job(cost=cost)


def test_policy_needs_a_weight_for_every_tier() -> None:
    with pytest.raises(ValueError, match="relax"):
        Policy(tier_weights={Tier.TURBO: 1.0, Tier.FAST: 1.0, Tier.BACKGROUND: 1.0})
