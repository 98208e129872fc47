"""A fleet in virtual time that drives the very scheduler: for tests, benchmarks and replays."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, TypeAlias

from jobs.scheduling.planning import plan
from jobs.scheduling.queue import Queue, refund, settle
from jobs.scheduling.rows import AgentView, Placement, Policy, WaitingJob

Kind: TypeAlias = Literal["arrival", "finish", "death", "tick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAgent:
    id: str
    memory_bytes: int
    labels: frozenset[str] = frozenset()
    resident_models: int = 1
    """How many models fit on it at once; the longest unused leaves."""
    slots: int = 1
    """1: nothing waits on the agent; 2: one job is staged behind the running one."""
    dies_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One job on one agent, from start to end (or to the agent's death)."""

    job: WaitingJob
    agent_id: str
    started_at: float
    ended_at: float
    swap_seconds: float
    charged_seconds: float
    is_finished: bool = True

    @property
    def waited_seconds(self) -> float:
        return self.started_at - self.job.submitted_at


@dataclass(slots=True)
class _Machine:
    agent: SimulatedAgent
    resident: list[str] = field(default_factory=list)
    held: list[Placement] = field(default_factory=list)
    started_at: float = 0.0
    swap_seconds: float = 0.0
    is_alive: bool = True


class Simulation:
    """Arrivals come from `submitted_at`; durations from `actual_seconds` (default: the estimate).

    `on_placement(now, placement)` sees every decision right after it was made.
    """

    def __init__(
        self,
        jobs: Iterable[WaitingJob],
        agents: Sequence[SimulatedAgent],
        *,
        policy: Policy | None = None,
        actual_seconds: Callable[[WaitingJob], float] = lambda job: job.cost_seconds,
        on_placement: Callable[[float, Placement], None] | None = None,
    ) -> None:
        self.queue = Queue(policy=policy)
        self.runs: list[Run] = []
        self.now = 0.0
        self._actual_seconds = actual_seconds
        self._on_placement = on_placement
        self._machines = {agent.id: _Machine(agent) for agent in agents}
        self._numbers = count()
        self._events: list[tuple[float, int, Kind, str, WaitingJob | None]] = []
        for job in jobs:
            self._schedule(job.submitted_at, "arrival", job.id, job)
        for agent in agents:
            if agent.dies_at is not None:
                self._schedule(agent.dies_at, "death", agent.id)

    def run(self, *, until: float = float("inf")) -> list[Run]:
        """Advance to `until`, or to the end of all work; the runs that ended so far."""
        while self._events and self._events[0][0] <= until:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] == self.now:
                _, _, kind, key, job = heapq.heappop(self._events)
                self._handle(kind, key, job)
            self._dispatch()
        return self.runs

    def views(self) -> list[AgentView]:
        """The agents as the dispatcher would see them now."""
        return [self._view(machine) for machine in self._machines.values() if machine.is_alive]

    def in_flight(self) -> Mapping[str, int]:
        return Counter(
            placement.job.organization_id
            for machine in self._machines.values()
            for placement in machine.held
        )

    def _schedule(self, at: float, kind: Kind, key: str, job: WaitingJob | None = None) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), kind, key, job))

    def _handle(self, kind: Kind, key: str, job: WaitingJob | None) -> None:
        if kind == "arrival" and job is not None:
            self.queue.add(job)
        elif kind == "finish" and self._machines[key].is_alive:
            self._finish(self._machines[key])
        elif kind == "death":
            self._die(self._machines[key])

    def _dispatch(self) -> None:
        made = plan(self.queue, self.views(), now=self.now, in_flight=self.in_flight())
        for placement in made.placements:
            machine = self._machines[placement.agent_id]
            machine.held.append(placement)
            if len(machine.held) == 1:
                self._start(machine)
            if self._on_placement:
                self._on_placement(self.now, placement)

    def _start(self, machine: _Machine) -> None:
        placement = machine.held[0]
        digest = placement.job.model_digest
        machine.started_at = self.now
        machine.swap_seconds = 0.0 if digest in machine.resident else self._load_seconds(digest)
        if digest in machine.resident:
            machine.resident.remove(digest)
        machine.resident = [*machine.resident, digest][-machine.agent.resident_models :]
        ends_at = self.now + machine.swap_seconds + self._actual_seconds(placement.job)
        self._schedule(ends_at, "finish", machine.agent.id)
        due_at = self._busy_until(machine) - self.queue.policy.stage_ahead_seconds
        if machine.agent.slots > 1 and due_at > self.now:
            self._schedule(due_at, "tick", machine.agent.id)

    def _finish(self, machine: _Machine) -> None:
        placement = machine.held.pop(0)
        self._record(machine, placement, is_finished=True)
        settle(self.queue, placement.charge, self.now - machine.started_at)
        if machine.held:
            self._start(machine)

    def _die(self, machine: _Machine) -> None:
        machine.is_alive = False
        if machine.held:
            self._record(machine, machine.held[0], is_finished=False)
        for placement in machine.held:
            refund(self.queue, placement.charge)
            self.queue.add(placement.job)
        machine.held.clear()

    def _record(self, machine: _Machine, placement: Placement, *, is_finished: bool) -> None:
        self.runs.append(
            Run(
                job=placement.job,
                agent_id=machine.agent.id,
                started_at=machine.started_at,
                ended_at=self.now,
                swap_seconds=machine.swap_seconds,
                charged_seconds=placement.charged_seconds,
                is_finished=is_finished,
            )
        )

    def _load_seconds(self, digest: str) -> float:
        policy = self.queue.policy
        return policy.swap_seconds.get(digest, policy.default_swap_seconds)

    def _busy_until(self, machine: _Machine) -> float:
        estimates = sum(placement.job.cost_seconds for placement in machine.held)
        return machine.started_at + machine.swap_seconds + estimates

    def _view(self, machine: _Machine) -> AgentView:
        agent = machine.agent
        return AgentView(
            id=agent.id,
            free_slots=agent.slots - len(machine.held),
            memory_bytes=agent.memory_bytes,
            labels=agent.labels,
            resident=frozenset(machine.resident),
            busy_until=self._busy_until(machine) if machine.held else None,
        )
