"""The rules of placement, one by one."""

from __future__ import annotations

from dataclasses import replace

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


def test_the_most_urgent_goes_first_and_reserves_are_met() -> None:
    jobs = [make_job(tier=tier, cost=1.0) for tier in Tier for _ in range(400)]
    policy = Policy(reserve_window_seconds=0.0, default_swap_seconds=0.0)
    queue = make_queue(*jobs, policy=policy)
    tiers = [place_one(queue).job.tier for _ in range(400)]
    assert tiers[0] is Tier.TURBO
    assert tiers.count(Tier.TURBO) == pytest.approx(268, abs=4)
    assert tiers.count(Tier.FAST) == pytest.approx(48, abs=4)
    assert tiers.count(Tier.RELAX) == pytest.approx(80, abs=4)
    assert tiers.count(Tier.BACKGROUND) == pytest.approx(4, abs=2)


def test_reserves_are_due_only_after_the_window_of_all_agents() -> None:
    jobs = [make_job(tier=tier, cost=10.0) for tier in (Tier.TURBO, Tier.RELAX) for _ in range(50)]
    policy = Policy(reserve_window_seconds=40.0, default_swap_seconds=0.0)
    queue = make_queue(*jobs, policy=policy)
    agents = [make_agent("agt_1"), make_agent("agt_2", slots=0, busy_until=1e9)]
    placed = [plan(queue, agents, now=0.0).placements[0].job.tier for _ in range(12)]
    # Two agents: 80 GPU-seconds for the urgent, then relax is more than that behind.
    assert placed.index(Tier.RELAX) == 9


def test_what_a_tier_had_while_nobody_else_wanted_it_is_not_held_against_it() -> None:
    policy = Policy(reserve_window_seconds=0.0, default_swap_seconds=0.0)
    queue = make_queue(*[make_job(tier=Tier.RELAX) for _ in range(200)], policy=policy)
    # Given relax alone for long
    for _ in range(100):
        place_one(queue)
    # When turbo comes with more than there is room for, then relax has its fifth from now on
    for _ in range(100):
        queue.add(make_job(tier=Tier.TURBO))
    tiers = [place_one(queue).job.tier for _ in range(50)]
    assert tiers.count(Tier.RELAX) == pytest.approx(10, abs=1)


def test_a_tier_that_was_away_is_owed_nothing() -> None:
    policy = Policy(reserve_window_seconds=0.0, default_swap_seconds=0.0)
    queue = make_queue(*[make_job(tier=Tier.TURBO) for _ in range(200)], policy=policy)
    # Given turbo alone for long
    for _ in range(100):
        place_one(queue)
    # When a burst of relax comes, then it gets its fifth and not what it could have had
    for _ in range(100):
        queue.add(make_job(tier=Tier.RELAX))
    tiers = [place_one(queue).job.tier for _ in range(50)]
    assert tiers.count(Tier.RELAX) == pytest.approx(10, abs=1)


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


def test_urgent_job_lets_a_resident_one_go_first_only_while_its_patience_lasts() -> None:
    def first(now: float) -> str:
        queue = make_queue(
            make_job("job_fast", tier=Tier.FAST, model="model_b"),
            make_job("job_relax", tier=Tier.RELAX, model="model_a"),
        )
        (placement,) = plan(queue, [make_agent(resident=["model_a"])], now=now).placements
        return placement.job_id

    patience = Policy().patience_seconds[Tier.FAST]
    assert first(patience - 0.1) == "job_relax"
    assert first(patience) == "job_fast"


def test_patience_is_short_where_loading_is() -> None:
    policy = Policy(default_swap_seconds=0.3)
    patience = Policy().patience_seconds[Tier.FAST]
    assert policy.patience(Tier.FAST, 0.3) == pytest.approx(patience * 0.3 / 6)


def test_urgent_job_waits_longer_for_an_agent_that_will_be_free_in_time_with_its_model() -> None:
    def first(free_at: float, now: float) -> str:
        queue = make_queue(
            make_job("job_fast", tier=Tier.FAST, model="model_b"),
            make_job("job_relax", tier=Tier.RELAX, model="model_a"),
        )
        holder = make_agent("agt_2", slots=0, resident=["model_b"], busy_until=free_at)
        agents = [make_agent("agt_1", resident=["model_a"]), holder]
        (placement,) = plan(queue, agents, now=now).placements
        return placement.job_id

    # With a patience of 6 seconds: after 7 it depends on when the holder is free.
    hope = Policy().hope_seconds[Tier.FAST]
    assert first(free_at=7.5, now=7.0) == "job_relax"
    assert first(free_at=hope + 20, now=7.0) == "job_fast"
    assert first(free_at=hope, now=hope) == "job_fast"


def test_idle_agent_does_not_wait_for_one_that_holds_the_model() -> None:
    queue = make_queue(make_job("job_fast", tier=Tier.FAST, model="model_b"))
    holder = make_agent("agt_2", slots=0, resident=["model_b"], busy_until=1.0)
    (placement,) = plan(queue, [make_agent("agt_1"), holder], now=0.0).placements
    assert placement.agent_id == "agt_1"


def test_the_model_for_which_most_waits_is_loaded_first() -> None:
    jobs = [make_job("job_rare", model="model_b", at=0.0)]
    jobs += [make_job(model="model_a", at=1.0) for _ in range(5)]
    queue = make_queue(*jobs, policy=Policy(window_seconds=25.0))
    assert place_one(queue, make_agent(resident=["model_c"])).job.model_digest == "model_a"


def test_the_idle_agent_loads_whose_own_model_is_wanted_least() -> None:
    # Given a capped organization whose jobs wait for model_a
    queue = make_queue(
        *[make_job(organization="org_beta", model="model_a") for _ in range(3)],
        make_job("job_new", tier=Tier.TURBO, model="model_new"),
        policy=Policy(organization_caps={"org_beta": 0}),
    )
    agents = [
        make_agent("agt_1", resident=["model_a"]),
        make_agent("agt_2", resident=["model_unused"]),
    ]
    (placement,) = plan(queue, agents, now=0.0).placements
    assert placement.agent_id == "agt_2"


def test_loads_are_spread_over_machines() -> None:
    queue = make_queue(make_job())
    busy = replace(make_agent("agt_0", busy_until=99.0), machine="one")
    agents = [busy] + [
        replace(make_agent(f"agt_{n}"), machine=machine)
        for n, machine in enumerate(("one", "two"), 1)
    ]
    (placement,) = plan(queue, agents, now=0.0).placements
    assert placement.agent_id == "agt_2"


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
    policy = Policy(window_seconds=0.0, organization_cap=1)
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


def test_limit_of_a_member_holds_and_earns_no_credit() -> None:
    policy = Policy(window_seconds=0.0, member_cap=1)
    jobs = [make_job(user=f"usr_{name}") for name in ("alice", "bob") for _ in range(50)]
    queue = make_queue(*jobs, policy=policy)
    running = {("org_alpha", "usr_alice"): 1}
    for _ in range(20):
        (placement,) = plan(queue, [make_agent()], now=0.0, members_in_flight=running).placements
        assert placement.job.user_id == "usr_bob"
    users = [place_one(queue).job.user_id for _ in range(10)]
    assert users.count("usr_alice") == pytest.approx(5, abs=1)


def test_limits_of_one_organization_replace_the_usual_ones() -> None:
    policy = Policy(
        organization_cap=1,
        organization_caps={"org_beta": 3},
        member_cap=5,
        member_caps={"org_beta": 2},
    )
    jobs = [make_job(organization=name) for name in ("org_alpha", "org_beta") for _ in range(9)]
    jobs += [make_job(organization="org_beta", user="usr_bob") for _ in range(9)]
    agents = [make_agent(f"agt_{n}") for n in range(9)]
    made = plan(make_queue(*jobs, policy=policy), agents, now=0.0)
    owners = sorted((p.job.organization_id, p.job.user_id) for p in made.placements)
    assert [owner for owner, _ in owners] == ["org_alpha"] + ["org_beta"] * 3
    assert max(owners.count(owner) for owner in owners) == 2


def test_tier_held_back_by_a_limit_is_owed_nothing() -> None:
    policy = Policy(
        window_seconds=0.0,
        organization_cap=1,
        default_swap_seconds=0.0,
        reserve_window_seconds=0.0,
    )
    jobs = [make_job(organization="org_alpha", tier=Tier.RELAX) for _ in range(9)]
    jobs += [make_job(organization="org_beta", tier=Tier.TURBO, at=1.0) for _ in range(90)]
    queue = make_queue(*jobs, policy=policy)
    # Given the only organization in relax held back while turbo is served
    for _ in range(40):
        assert plan(queue, [make_agent()], now=0.0, in_flight={"org_alpha": 1}).placements
    # When another one comes to relax, then relax gets its fifth, not what it missed
    for _ in range(90):
        queue.add(make_job(organization="org_gamma", tier=Tier.RELAX, at=2.0))
    tiers = [place_one(queue).job.tier for _ in range(20)]
    assert tiers.count(Tier.RELAX) == pytest.approx(4, abs=1)


def test_limit_counts_what_the_same_plan_places() -> None:
    queue = make_queue(*[make_job() for _ in range(5)], policy=Policy(organization_cap=2))
    agents = [make_agent(f"agt_{n}") for n in range(4)]
    assert len(plan(queue, agents, now=0.0).placements) == 2


def test_staging_waits_until_the_running_job_is_nearly_done() -> None:
    queue = make_queue(make_job())
    assert not plan(queue, [make_agent(busy_until=60.0)], now=58.9).placements
    assert plan(queue, [make_agent(busy_until=60.0)], now=59.0).placements


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


def test_reserves_are_at_most_everything() -> None:
    with pytest.raises(ValueError, match="tier_reserves"):
        Policy(tier_reserves={Tier.FAST: 0.6, Tier.RELAX: 0.5})
