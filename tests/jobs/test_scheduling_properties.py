"""What holds for every backlog, every fleet and every order of events."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.scheduling import AgentView, FairState, Placement, Policy, Queue, Tier, WaitingJob, plan
from jobs.scheduling.index import Index, Node
from jobs.scheduling.queue import refund, settle
from jobs.scheduling.simulation import SimulatedAgent, Simulation
from tests.jobs.scheduling_factories import GIB, make_agent, make_job

policies = st.builds(
    Policy,
    window_seconds=st.sampled_from([0.0, 5.0, 30.0]),
    reserve_window_seconds=st.sampled_from([0.0, 3.0, 20.0]),
    tier_reserves=st.sampled_from(
        [
            {},
            {Tier.RELAX: 0.2},
            {Tier.FAST: 0.3, Tier.RELAX: 0.3, Tier.BACKGROUND: 0.4},
            {Tier.FAST: 0.12, Tier.RELAX: 0.2, Tier.BACKGROUND: 0.01},
        ]
    ),
    patience_seconds=st.sampled_from([{}, {Tier.TURBO: 0.4, Tier.FAST: 6.0}]),
    scan_limit=st.sampled_from([1, 3, 1000]),
    default_swap_seconds=st.sampled_from([0.0, 0.3, 6.0]),
)

limited_policies = st.builds(replace, policies, organization_cap=st.sampled_from([None, 1, 3]))


@st.composite
def waiting_jobs(draw: st.DrawFn, *, is_late: bool = False) -> list[WaitingJob]:
    kinds = draw(
        st.lists(
            st.tuples(
                st.sampled_from(list(Tier)),
                st.integers(0, 2),  # organization
                st.integers(0, 1),  # user
                st.integers(0, 4),  # model
                st.sampled_from([0.5, 2.0, 7.0, 20.0]),  # cost
                st.sampled_from([4, 12, 30]),  # GiB
                st.integers(0, 60) if is_late else st.just(0),
                st.sampled_from([1, 1, 4]) if is_late else st.just(1),  # pictures
            ),
            min_size=1,
            max_size=60,
        )
    )
    return [
        make_job(
            f"job_{number:04d}",
            tier=tier,
            organization=f"org_{organization}",
            user=f"usr_{organization}_{user}",
            model=f"model_{model}",
            cost=cost,
            gib=gib,
            at=float(at),
            pictures=pictures,
        )
        for number, (tier, organization, user, model, cost, gib, at, pictures) in enumerate(kinds)
    ]


fleets = st.lists(
    st.tuples(st.sampled_from([8, 16, 40]), st.integers(1, 2)), min_size=1, max_size=4
).map(
    lambda kinds: [
        SimulatedAgent(id=f"agt_{n}", memory_bytes=gib * GIB, slots=slots)
        for n, (gib, slots) in enumerate(kinds)
    ]
)


mortal_fleets = st.lists(
    st.tuples(
        st.sampled_from([8, 16, 40]),
        st.integers(1, 2),
        st.sampled_from([None, 7.0, 31.0]),  # dies at
        st.sampled_from([None, 5.0]),  # notice
        st.sampled_from([None, 50.0]),  # a new one comes
    ),
    min_size=1,
    max_size=4,
).map(
    lambda kinds: [
        SimulatedAgent(
            id=f"agt_{n}",
            memory_bytes=gib * GIB,
            slots=slots,
            dies_at=dies_at,
            notice_seconds=notice,
            returns_at=back,
        )
        for n, (gib, slots, dies_at, notice, back) in enumerate(kinds)
    ]
)


class Ledger:
    """Charged seconds by flow, and who has waited all the time since the beginning."""

    def __init__(self, jobs: list[WaitingJob], policy: Policy, agents: int) -> None:
        self.policy = policy
        self.agents = agents
        self.largest = max(job.cost_seconds for job in jobs) + policy.default_swap_seconds
        self.charged: dict[tuple[str, ...], float] = defaultdict(float)
        self.waiting: dict[tuple[str, ...], int] = defaultdict(int)
        self.gap: dict[tuple[str, ...], float] = defaultdict(float)
        for job in jobs:
            for depth in (1, 2, 3):
                self.waiting[job.path[:depth]] += 1

    def note(self, _now: float, placement: Placement) -> None:
        path = placement.job.path
        for depth in (1, 2, 3):
            flow = path[:depth]
            for sibling in self.siblings(flow):
                self.gap[sibling] += placement.charged_seconds
            self.gap[flow] = 0.0
            self.charged[flow] += placement.charged_seconds
        self.check_reserves()
        for depth in (2, 3):
            self.check_bound(path[:depth])
            self.check_gap(path[:depth])
        for depth in (1, 2, 3):
            self.waiting[path[:depth]] -= 1

    def siblings(self, flow: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [
            other
            for other, jobs in self.waiting.items()
            if jobs > 0 and len(other) == len(flow) and other[:-1] == flow[:-1]
        ]

    def weight(self, flow: tuple[str, ...]) -> float:
        return self.policy.weight(len(flow) - 1, flow[-1])

    def check_reserves(self) -> None:
        """Each tier that waits: its share of all, less what the window and four charges allow;
        and the longest gap between two of its services.
        """
        tiers = [flow for flow in self.waiting if len(flow) == 1]
        total = sum(self.charged[tier] for tier in tiers)
        window = self.policy.reserve_window_seconds * self.agents
        for flow in tiers:
            share = self.policy.tier_reserves.get(Tier(flow[0]), 0.0)
            if share and self.waiting[flow] > 0:
                slack = window + len(Tier) * self.largest
                assert self.charged[flow] >= share * (total - slack) - 1e-6
                others = max(window, self.largest / share) + len(Tier) * self.largest
                assert self.gap[flow] <= others + 1e-6

    def check_bound(self, flow: tuple[str, ...]) -> None:
        for one, other in combinations(self.siblings(flow), 2):
            w, w_other = self.weight(one), self.weight(other)
            apart = abs(self.charged[one] / w - self.charged[other] / w_other)
            reach = self.policy.window_seconds + self.largest
            assert apart <= reach * (1 / w + 1 / w_other) + 1e-6

    def check_gap(self, flow: tuple[str, ...]) -> None:
        """What the siblings get between two services of a flow that waits: the bound, summed."""
        reach = self.policy.window_seconds + self.largest
        for one in self.siblings(flow):
            # Those that were served empty meanwhile had their part as well.
            others = [o for o in self.waiting if o[:-1] == one[:-1] and o != one]
            limit = sum(reach * (1 + self.weight(o) / self.weight(one)) for o in others)
            assert self.gap[one] <= limit + 1e-6


@settings(max_examples=80, deadline=None)
@given(jobs=waiting_jobs(), policy=policies, agents=st.integers(1, 4))
def test_service_of_those_that_wait_stays_within_the_bound_at_every_dispatch(
    jobs: list[WaitingJob], policy: Policy, agents: int
) -> None:
    ledger = Ledger(jobs, policy, agents)
    fleet = [SimulatedAgent(id=f"agt_{n}", memory_bytes=80 * GIB) for n in range(agents)]
    Simulation(jobs, fleet, policy=policy, on_placement=ledger.note).run()
    assert not any(ledger.waiting.values())


@settings(max_examples=60, deadline=None)
@given(jobs=waiting_jobs(is_late=True), policy=policies, fleet=fleets)
def test_no_agent_idles_while_a_job_that_fits_it_waits(
    jobs: list[WaitingJob], policy: Policy, fleet: list[SimulatedAgent]
) -> None:
    simulation = Simulation(jobs, fleet, policy=policy)
    for second in range(0, 200, 5):
        simulation.run(until=float(second))
        waiting = [job for job in jobs if job.id in simulation.queue]
        idle = [agent for agent in simulation.views() if agent.busy_until is None]
        assert not [(j.id, a.id) for j in waiting for a in idle if j.need.is_met_by(a)]
    simulation.run()
    # And what is left at the end fits nowhere.
    largest = max(agent.memory_bytes for agent in fleet)
    left = {job.id for job in jobs if job.memory_bytes > largest}
    assert {job.id for job in jobs if job.id in simulation.queue} == left
    made = plan(simulation.queue, simulation.views(), now=simulation.now)
    assert sum(unplaceable.jobs for unplaceable in made.unplaceable) == len(left)


@settings(max_examples=40, deadline=None)
@given(jobs=waiting_jobs(is_late=True), policy=policies, fleet=fleets)
def test_same_input_gives_the_same_schedule(
    jobs: list[WaitingJob], policy: Policy, fleet: list[SimulatedAgent]
) -> None:
    first = Simulation(jobs, fleet, policy=policy).run()
    assert Simulation(jobs, fleet, policy=policy).run() == first


@settings(max_examples=60, deadline=None)
@given(jobs=waiting_jobs(is_late=True), policy=policies, fleet=mortal_fleets)
def test_every_picture_is_made_once_whoever_dies_or_yields(
    jobs: list[WaitingJob], policy: Policy, fleet: list[SimulatedAgent]
) -> None:
    simulation = Simulation(jobs, fleet, policy=policy)
    runs = simulation.run()
    made: Counter[str] = Counter()
    for run in runs:
        made[run.job.id] += run.pictures
    finished = Counter(run.job.id for run in runs if run.is_finished)
    for job in jobs:
        waiting = simulation.queue.get(job.id)
        assert made[job.id] + (waiting.pictures if waiting else 0) == job.pictures
        assert finished[job.id] == (0 if waiting else 1)


steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "plan", "settle", "refund"]), st.integers(0, 59)),
    max_size=120,
)
agents_seen = [make_agent("agt_1", gib=8, slots=2), make_agent("agt_2", gib=40)]


@settings(max_examples=80, deadline=None)
@given(jobs=waiting_jobs(), policy=limited_policies, script=steps)
def test_books_stay_consistent_whatever_happens(
    jobs: list[WaitingJob], policy: Policy, script: list[tuple[str, int]]
) -> None:
    queue = Queue(policy=policy)
    running: list[Placement] = []
    for what, number in script:
        job = jobs[number % len(jobs)]
        if what == "add":
            queue.add(job)
        elif what == "remove":
            queue.remove(job.id)
        elif what == "plan":
            in_flight = Counter(placement.job.organization_id for placement in running)
            running += plan(queue, agents_seen, now=0.0, in_flight=in_flight).placements
        elif running and what == "settle":
            settle(queue, running.pop().charge, float(number))
        elif running and what == "refund":
            placement = running.pop()
            refund(queue, placement.charge)
            queue.add(placement.job)
    waiting = [job for job in jobs if job.id in queue]
    assert_index_is_what_building_anew_gives(queue.everything, waiting, queue)
    for agent in agents_seen:
        assert_agrees_with_fresh_queue(queue, waiting, agent)


def assert_index_is_what_building_anew_gives(
    index: Index, waiting: list[WaitingJob], queue: Queue
) -> None:
    fresh = Index(queue.policy, index.agent_class)
    for job in waiting:
        fresh.insert(job, queue.state.flows(job.path)[1:])
    assert outline(index.root) == outline(fresh.root)


def outline(node: Node) -> object:
    """A node without what only history tells (float sums, overtaking)."""
    children = {key: outline(child) for key, child in node.children.items()}
    return node.order, [entry[2] for entry in node.waiting], node.jobs or 0, children


def assert_agrees_with_fresh_queue(
    queue: Queue, waiting: list[WaitingJob], agent: AgentView
) -> None:
    """A restored queue has the same virtual times for everybody who waits."""
    saved = json.loads(json.dumps(queue.state.to_json()))
    restored = Queue(policy=queue.policy, state=FairState.from_json(saved), waiting=waiting)
    assert outline(restored.everything.root) == outline(queue.everything.root)
    assert bool(plan(restored, [agent], now=0.0).placements) == any(
        job.need.is_met_by(agent) for job in waiting
    )
