"""A fleet in virtual time that drives the very scheduler: for tests, benchmarks and replays."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, Protocol, TypeAlias

from jobs.scheduling.choosing import Member
from jobs.scheduling.planning import plan
from jobs.scheduling.policy import Policy
from jobs.scheduling.queue import Queue, refund, settle
from jobs.scheduling.rows import AgentView, Charge, Placement, Plan, Tier, WaitingJob

MOMENT = 1e-3  # after a patience has ended for certain, sums of floats being what they are
Kind: TypeAlias = Literal["arrival", "finish", "notice", "death", "return", "tick"]


class Scheduler(Protocol):
    """What decides. Ours is `FairScheduler`; benchmarks bring others."""

    policy: Policy

    def add(self, job: WaitingJob) -> None: ...

    def plan(
        self,
        agents: Sequence[AgentView],
        *,
        now: float,
        in_flight: Mapping[str, int],
        members_in_flight: Mapping[Member, int],
    ) -> Plan: ...

    def settle(self, charge: Charge, seconds: float) -> None: ...

    def refund(self, charge: Charge) -> None: ...


class FairScheduler:
    """The scheduler of `jobs.scheduling`, as the dispatcher drives it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.queue = Queue(policy=policy)
        self.add = self.queue.add

    def plan(
        self,
        agents: Sequence[AgentView],
        *,
        now: float,
        in_flight: Mapping[str, int],
        members_in_flight: Mapping[Member, int],
    ) -> Plan:
        return plan(
            self.queue, agents, now=now, in_flight=in_flight, members_in_flight=members_in_flight
        )

    def settle(self, charge: Charge, seconds: float) -> None:
        settle(self.queue, charge, seconds)

    def refund(self, charge: Charge) -> None:
        refund(self.queue, charge)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAgent:
    id: str
    memory_bytes: int
    labels: frozenset[str] = frozenset()
    machine: str = ""
    resident_models: int = 1
    """How many models fit on it at once; the longest unused leaves."""
    cached_models: int = 0
    """How many more its host memory keeps, from where they load in `cached_swap_seconds`."""
    slots: int = 1
    """1: nothing waits on the agent; 2: one job is staged behind the running one."""
    dies_at: float | None = None
    notice_seconds: float | None = None
    """Spot: so long before its end it takes nothing more and hands back after its picture."""
    returns_at: float | None = None
    """A new one of its kind takes its place, with nothing loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One job on one agent, from start to end (or to the agent's death, or to its yielding)."""

    job: WaitingJob
    agent_id: str
    started_at: float
    ended_at: float
    swap_seconds: float
    charged_seconds: float
    is_finished: bool = True
    pictures: int = 1
    """Made and kept."""

    @property
    def waited_seconds(self) -> float:
        return self.started_at - self.job.submitted_at


@dataclass(slots=True)
class _Machine:
    """A simulated agent in its present life."""

    agent: SimulatedAgent
    resident: list[str] = field(default_factory=list)
    """The longest unused first."""
    cached: list[str] = field(default_factory=list)
    held: list[Placement] = field(default_factory=list)
    started_at: float = 0.0
    swap_seconds: float = 0.0
    ends_at: float = 0.0
    is_alive: bool = True
    is_leaving: bool = False
    is_yielding: bool = False
    turn: int = 0
    """Grows with every start, so that the end of an earlier one is known as such."""

    def load(self, digest: str, policy: Policy) -> float:
        """Make the model resident; the seconds that takes."""
        if digest in self.resident:
            self.resident.remove(digest)
            self.resident.append(digest)
            return 0.0
        seconds = policy.load_seconds(digest)
        if digest in self.cached:
            self.cached.remove(digest)
            seconds = min(seconds, policy.cached_swap_seconds)
        self.resident.append(digest)
        while len(self.resident) > self.agent.resident_models:
            self.cached.append(self.resident.pop(0))
        del self.cached[: max(0, len(self.cached) - self.agent.cached_models)]
        return seconds

    def pictures_at(self, now: float) -> int:
        """How many pictures of the running job are done."""
        job = self.held[0].job
        took = self.ends_at - self.started_at - self.swap_seconds
        done = (now - self.started_at - self.swap_seconds) / took * job.pictures
        return max(0, min(job.pictures, int(done + 1e-9)))

    def boundary_after(self, now: float) -> float:
        """When the picture that is being made is done."""
        pictures = self.held[0].job.pictures
        took = self.ends_at - self.started_at - self.swap_seconds
        done = self.pictures_at(now)
        return self.started_at + self.swap_seconds + took * min(pictures, done + 1) / pictures


class Simulation:
    """Arrivals come from `submitted_at`; durations from `actual_seconds` (default: the estimate).

    `on_placement(now, placement)` sees every decision right after it was made. With
    `round_seconds` the scheduler is asked only so often, as the dispatcher of a large fleet is.
    """

    def __init__(
        self,
        jobs: Iterable[WaitingJob],
        agents: Sequence[SimulatedAgent],
        *,
        policy: Policy | None = None,
        scheduler: Scheduler | None = None,
        actual_seconds: Callable[[WaitingJob], float] = lambda job: job.cost_seconds,
        on_placement: Callable[[float, Placement], None] | None = None,
        round_seconds: float = 0.0,
    ) -> None:
        fair = FairScheduler(policy or Policy())
        self.scheduler = scheduler or fair
        self.queue = fair.queue
        self.runs: list[Run] = []
        self.now = 0.0
        self._actual_seconds = actual_seconds
        self._on_placement = on_placement
        self._round_seconds = round_seconds
        self._machines = {agent.id: _Machine(agent) for agent in agents}
        self._views: dict[str, AgentView] = {}
        self._in_flight: Counter[str] = Counter()
        self._members: Counter[Member] = Counter()
        self._numbers = count()
        self._events: list[tuple[float, int, Kind, str, WaitingJob | int | None]] = []
        for job in jobs:
            self._schedule(job.submitted_at, "arrival", job.id, job)
        for agent in agents:
            self._schedule_life(agent)

    def run(self, *, until: float = float("inf")) -> list[Run]:
        """Advance to `until`, or to the end of all work; the runs that ended so far."""
        while self._events and self._events[0][0] <= until:
            end = min(self._events[0][0] + self._round_seconds, until)
            while self._events and self._events[0][0] <= end:
                self.now, _, kind, key, what = heapq.heappop(self._events)
                self._handle(kind, key, what)
            self.now = end
            self._dispatch()
        return self.runs

    def views(self) -> list[AgentView]:
        """The agents as the dispatcher would see them now."""
        found = []
        for machine in self._machines.values():
            if machine.is_alive:
                view = self._views.get(machine.agent.id)
                if view is None or _may_yield(machine, self.scheduler.policy):
                    view = self._views[machine.agent.id] = self._view(machine)
                found.append(view)
        return found

    def unfinished(self) -> list[Run]:
        """What runs now, as if it ended now."""
        return [
            self._run(machine, machine.held[0], pictures=machine.pictures_at(self.now))
            for machine in self._machines.values()
            if machine.held
        ]

    def _schedule_life(self, agent: SimulatedAgent) -> None:
        if agent.dies_at is None:
            return
        if agent.notice_seconds is not None:
            self._schedule(agent.dies_at - agent.notice_seconds, "notice", agent.id)
        self._schedule(agent.dies_at, "death", agent.id)
        if agent.returns_at is not None:
            self._schedule(agent.returns_at, "return", agent.id)

    def _schedule(
        self, at: float, kind: Kind, key: str, what: WaitingJob | int | None = None
    ) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), kind, key, what))

    def _handle(self, kind: Kind, key: str, what: WaitingJob | int | None) -> None:
        if isinstance(what, WaitingJob):
            self.scheduler.add(what)
            patience = self.scheduler.policy.patience_seconds.get(what.tier, 0.0)
            if patience:
                self._schedule(self.now + patience + MOMENT, "tick", key)
            return
        if kind == "tick":
            return
        machine = self._machines[key]
        self._views.pop(key, None)
        if kind == "finish" and machine.turn == what:
            self._finish(machine)
        elif kind == "notice":
            machine.is_leaving = True
            self._ask_to_yield(machine)
        elif kind == "death":
            self._die(machine)
        elif kind == "return":
            self._machines[key] = _Machine(machine.agent, turn=machine.turn + 1)

    def _dispatch(self) -> None:
        made = self.scheduler.plan(
            self.views(),
            now=self.now,
            in_flight=self._in_flight,
            members_in_flight=self._members,
        )
        for placement in made.placements:
            machine = self._machines[placement.agent_id]
            machine.held.append(placement)
            self._views.pop(placement.agent_id, None)
            self._count(placement, 1)
            if len(machine.held) == 1:
                self._start(machine)
            if self._on_placement:
                self._on_placement(self.now, placement)
        for agent_id in made.yields:
            self._views.pop(agent_id, None)
            self._ask_to_yield(self._machines[agent_id])

    def _count(self, placement: Placement, by: int) -> None:
        job = placement.job
        self._in_flight[job.organization_id] += by
        self._members[job.organization_id, job.user_id] += by

    def _start(self, machine: _Machine) -> None:
        job = machine.held[0].job
        machine.started_at = self.now
        machine.swap_seconds = machine.load(job.model_digest, self.scheduler.policy)
        machine.ends_at = self.now + machine.swap_seconds + self._actual_seconds(job)
        machine.is_yielding = False
        machine.turn += 1
        self._schedule(machine.ends_at, "finish", machine.agent.id, machine.turn)
        due_at = self._busy_until(machine) - self.scheduler.policy.stage_ahead_seconds
        if machine.agent.slots > 1 and due_at > self.now:
            self._schedule(due_at, "tick", machine.agent.id)
        if machine.is_leaving:
            self._ask_to_yield(machine)

    def _ask_to_yield(self, machine: _Machine) -> None:
        """Stop after the present picture; a job of one picture is simply finished."""
        if not machine.held or machine.is_yielding:
            return
        at = machine.boundary_after(self.now)
        if at < machine.ends_at - 1e-9:
            machine.is_yielding = True
            machine.turn += 1
            self._schedule(at, "finish", machine.agent.id, machine.turn)

    def _finish(self, machine: _Machine) -> None:
        done = machine.pictures_at(self.now)
        placement = machine.held.pop(0)
        job = placement.job
        self._count(placement, -1)
        self.runs.append(
            self._run(machine, placement, pictures=done, is_finished=done == job.pictures)
        )
        self.scheduler.settle(placement.charge, self.now - machine.started_at)
        if done < job.pictures:
            self._hand_back(job, done)
        if machine.held:
            self._start(machine)

    def _hand_back(self, job: WaitingJob, done: int) -> None:
        left = job.pictures - done
        cost = job.cost_seconds * left / job.pictures
        self.scheduler.add(replace(job, pictures=left, cost_seconds=cost))

    def _die(self, machine: _Machine) -> None:
        machine.is_alive = False
        machine.turn += 1
        for number, placement in enumerate(machine.held):
            self._count(placement, -1)
            self.scheduler.refund(placement.charge)
            done = 0
            if number == 0:
                done = min(machine.pictures_at(self.now), placement.job.pictures - 1)
                self.runs.append(self._run(machine, placement, pictures=done))
            self._hand_back(placement.job, done)
        machine.held.clear()

    def _run(
        self, machine: _Machine, placement: Placement, *, pictures: int, is_finished: bool = False
    ) -> Run:
        return Run(
            job=placement.job,
            agent_id=machine.agent.id,
            started_at=machine.started_at,
            ended_at=self.now,
            swap_seconds=min(machine.swap_seconds, self.now - machine.started_at),
            charged_seconds=placement.charged_seconds,
            is_finished=is_finished,
            pictures=pictures,
        )

    def _busy_until(self, machine: _Machine) -> float:
        estimates = sum(placement.job.cost_seconds for placement in machine.held)
        return machine.started_at + machine.swap_seconds + estimates

    def _view(self, machine: _Machine) -> AgentView:
        agent, held = machine.agent, machine.held
        is_long = bool(held) and held[0].job.pictures > 1
        return AgentView(
            id=agent.id,
            free_slots=agent.slots - len(held),
            memory_bytes=agent.memory_bytes,
            labels=agent.labels,
            machine=agent.machine,
            resident=frozenset(machine.resident),
            cached=frozenset(machine.cached),
            busy_until=self._busy_until(machine) if held else None,
            is_accepting=not machine.is_leaving,
            running=min((p.job.tier for p in held), key=list(Tier).index) if held else None,
            yields_at=machine.boundary_after(self.now) if is_long and len(held) == 1 else None,
            is_yielding=machine.is_yielding,
        )


def _may_yield(machine: _Machine, policy: Policy) -> bool:
    """Its view changes with every picture."""
    if not machine.held:
        return False
    job = machine.held[0].job
    return job.pictures > 1 and job.tier in policy.yielding_tiers
