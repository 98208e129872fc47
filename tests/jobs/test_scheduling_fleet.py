"""Whole fleets in virtual time: who waits how long."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import count

import pytest

from jobs.scheduling import Policy, Queue, Tier, WaitingJob
from jobs.scheduling.measures import Measures, fair_shares, gap_bound
from jobs.scheduling.measures import p95 as quantile
from jobs.scheduling.scenarios import losses, steady
from jobs.scheduling.simulation import Run, SimulatedAgent, Simulation
from jobs.scheduling.traces import TraceBrokenError, read_trace, write_trace
from jobs.scheduling.workloads import make_backlog, time_decisions
from tests.jobs.scheduling_factories import GIB, make_agent, make_chance, make_job


def make_fleet(number: int, *, slots: int = 1) -> list[SimulatedAgent]:
    return [
        SimulatedAgent(id=f"agt_{n}", memory_bytes=24 * GIB, slots=slots) for n in range(number)
    ]


def used_seconds(runs: Iterable[Run], key: Callable[[WaitingJob], str]) -> dict[str, float]:
    used: dict[str, float] = defaultdict(float)
    for run in runs:
        used[key(run.job)] += run.ended_at - run.started_at
    return used


def p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95)]


def zipf_jobs(
    chance: random.Random, organization: str, count: int, *, tier: Tier = Tier.FAST, at: float = 0.0
) -> list[WaitingJob]:
    weights = [1 / rank**1.1 for rank in range(1, 41)]
    return [
        make_job(
            organization=organization,
            user=f"{organization}_{chance.randrange(3)}",
            tier=tier,
            model=f"model_{chance.choices(range(40), weights)[0]}",
            cost=chance.uniform(2.0, 8.0),
            at=at,
        )
        for _ in range(count)
    ]


def test_flooding_organization_does_not_delay_the_others() -> None:
    def others_p95(flood: int) -> float:
        chance = make_chance(7)
        jobs = [job for n in range(20) for job in zipf_jobs(chance, f"org_{n}", 30)]
        jobs += zipf_jobs(chance, "org_flood", flood)
        runs = Simulation(jobs, make_fleet(8)).run()
        return p95([run.waited_seconds for run in runs if run.job.organization_id != "org_flood"])

    assert others_p95(600) <= 1.1 * others_p95(30)


def test_burst_after_idling_gains_no_credit() -> None:
    chance = make_chance(3)
    busy = zipf_jobs(chance, "org_busy", 2000)
    burst = zipf_jobs(chance, "org_burst", 600, at=1800.0)
    simulation = Simulation([*busy, *burst], make_fleet(2))
    simulation.run(until=1800.0)
    before = len(simulation.runs)
    runs = simulation.run(until=3000.0)[before:]
    used = used_seconds(runs, lambda job: job.organization_id)
    assert used["org_burst"] == pytest.approx(used["org_busy"], abs=Policy().window_seconds)


def test_estimates_wrong_by_four_settle_within_five_percent() -> None:
    def actual(job: WaitingJob) -> float:
        return job.cost_seconds * (4.0 if job.organization_id == "org_under" else 0.25)

    chance = make_chance(5)
    jobs = zipf_jobs(chance, "org_under", 3000) + zipf_jobs(chance, "org_over", 9000)
    simulation = Simulation(jobs, make_fleet(4), actual_seconds=actual)
    runs = simulation.run(until=4000.0)
    assert {job.organization_id for job in jobs if job.id in simulation.queue} == {
        "org_under",
        "org_over",
    }
    used = used_seconds(runs, lambda job: job.organization_id)
    half = sum(used.values()) / 2
    assert used["org_under"] == pytest.approx(half, rel=0.05)


def test_every_tier_has_its_reserve_under_overload() -> None:
    chance = make_chance(11)
    jobs = [job for tier in Tier for job in zipf_jobs(chance, "org_a", 2500, tier=tier)]
    runs = Simulation(jobs, make_fleet(4)).run(until=4000.0)
    used = used_seconds(runs, lambda job: job.tier)
    total = sum(used.values())
    for tier, share in ((Tier.TURBO, 0.67), (Tier.FAST, 0.12), (Tier.RELAX, 0.2)):
        assert used[tier] / total == pytest.approx(share, rel=0.1)
    assert used[Tier.BACKGROUND] > 0


def test_reserves_hold_though_estimates_are_wrong_by_four() -> None:
    def actual(job: WaitingJob) -> float:
        return job.cost_seconds * (4.0 if job.tier is Tier.TURBO else 0.25)

    chance = make_chance(17)
    jobs = [
        job
        for tier in (Tier.TURBO, Tier.RELAX)
        for job in zipf_jobs(chance, "org_a", 9000, tier=tier)
    ]
    policy = Policy(default_swap_seconds=0.3)
    runs = Simulation(jobs, make_fleet(4), policy=policy, actual_seconds=actual).run(until=6000.0)
    used = used_seconds(runs, lambda job: job.tier)
    assert used[Tier.RELAX] / sum(used.values()) == pytest.approx(0.2, rel=0.05)


def test_window_saves_swaps_and_costs_no_fairness_between_tiers() -> None:
    def served(window: float) -> tuple[int, float]:
        chance = make_chance(13)
        jobs = [job for n in range(10) for job in zipf_jobs(chance, f"org_{n}", 400)]
        runs = Simulation(jobs, make_fleet(4), policy=Policy(window_seconds=window)).run(
            until=2000.0
        )
        return len(runs), sum(run.swap_seconds for run in runs) / (4 * 2000.0)

    strict, strict_swaps = served(0.0)
    with_window, window_swaps = served(60.0)
    assert with_window > 1.3 * strict
    assert window_swaps < strict_swaps / 1.5


def test_death_of_an_agent_loses_no_job_and_charges_nobody() -> None:
    jobs = [make_job(organization=f"org_{n % 2}", cost=10.0) for n in range(20)]
    doomed = SimulatedAgent(id="agt_0", memory_bytes=24 * GIB, slots=2, dies_at=15.0)
    simulation = Simulation(jobs, [doomed, *make_fleet(3, slots=2)[1:]])
    runs = simulation.run()
    finished = Counter(run.job.id for run in runs if run.is_finished)
    assert finished == Counter(job.id for job in jobs)
    assert [run.agent_id for run in runs if not run.is_finished] == ["agt_0"]


def test_interactive_job_does_not_wait_behind_a_batch() -> None:
    batch = [make_job(tier=Tier.RELAX, cost=10.0) for _ in range(500)]
    quick = [
        make_job(organization="org_b", tier=Tier.TURBO, cost=4.0, at=100.0 + 30 * n)
        for n in range(20)
    ]
    runs = Simulation([*batch, *quick], make_fleet(4)).run()
    waits = [run.waited_seconds for run in runs if run.job.tier is Tier.TURBO]
    assert max(waits) <= 10.0


def test_workload_for_benchmarks_keeps_the_backlog_as_long_as_it_is() -> None:
    jobs = make_backlog(make_chance(1), jobs=400)
    queue, ticks = Queue(waiting=jobs[:300]), count()
    agents = [make_agent(f"agt_{n}", gib=gib) for n, gib in enumerate((8, 24, 80))]
    taken = time_decisions(queue, agents, arrivals=jobs[300:], clock=lambda: float(next(ticks)))
    assert taken == [1.0] * 100
    assert len(queue) == 300


def test_recorded_trace_replays_to_the_very_same_schedule() -> None:
    trace = losses(make_chance(19), minutes=3)
    replayed = read_trace(write_trace(trace))
    assert (replayed.jobs, replayed.agents, replayed.actual) == (
        trace.jobs,
        trace.agents,
        trace.actual,
    )
    runs = [
        Simulation(one.jobs, one.agents, actual_seconds=one.actual_seconds).run(until=one.until)
        for one in (trace, replayed)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 100


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "empty"),
        (['{"trace": 99, "until": 1}'], "Line 1 .* version 99"),
        (['{"trace": 1, "until": 1}', "nonsense"], "Line 2"),
        (['{"trace": 1, "until": 1}', '{"job": {"prompt": "x"}}'], "Line 2 .* unknown"),
    ],
)
def test_what_is_no_trace_is_refused_with_the_line(lines: list[str], problem: str) -> None:
    with pytest.raises(TraceBrokenError, match=problem):
        read_trace(lines)


def test_urgent_waits_are_short_and_relax_gaps_within_the_bound_at_85_percent() -> None:
    trace = steady(make_chance(23), minutes=10)
    policy = Policy(default_swap_seconds=6.0)
    simulation = Simulation(trace.jobs, trace.agents, policy=policy)
    simulation.run(until=trace.until)
    simulation.now = trace.until
    measures = Measures(trace, [*simulation.runs, *simulation.unfinished()])
    assert quantile(measures.waits(Tier.TURBO)) < 2.0
    assert quantile(measures.waits(Tier.FAST)) < 10.0
    assert quantile(measures.waits(Tier.RELAX)) < 300.0
    bound = gap_bound(policy, Tier.RELAX, trace.jobs, len(trace.agents))
    assert 0 < measures.longest_gap(Tier.RELAX) <= bound
    assert measures.jain() > 0.98


def test_fair_shares_give_nobody_more_than_asked() -> None:
    shares = fair_shares({"a": 10.0, "b": 100.0, "c": 200.0}, 150.0)
    assert shares == {"a": 10.0, "b": 70.0, "c": 70.0}
