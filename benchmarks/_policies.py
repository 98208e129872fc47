"""The schedulers ours is compared with: as plain as they are meant, and quick.

They take it that every agent can take every job. Of several idle agents each prefers one that
holds the job's model, which costs nobody anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import islice

from typing_extensions import override

from jobs.scheduling import AgentView, Charge, Placement, Plan, Policy, Tier, WaitingJob
from jobs.scheduling.choosing import Member

LOOK_AHEAD = 32
WEIGHTS = {Tier.TURBO: 10.0, Tier.FAST: 5.0, Tier.RELAX: 1.0, Tier.BACKGROUND: 0.1}


class PlainScheduler(ABC):
    """Gives each idle agent the next job; no agent is given a second one while it works."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @abstractmethod
    def add(self, job: WaitingJob) -> None: ...

    @abstractmethod
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        """The job this agent should do next; it no longer waits."""

    def plan(
        self,
        agents: Sequence[AgentView],
        *,
        now: float,
        in_flight: Mapping[str, int],
        members_in_flight: Mapping[Member, int],
    ) -> Plan:
        idle = {a.id: a for a in agents if a.busy_until is None and a.is_accepting}
        placements = []
        while idle:
            agent = next(iter(idle.values()))
            job = self.take(agent, now)
            if job is None:
                break
            if job.model_digest not in agent.resident:
                holders = (a for a in idle.values() if job.model_digest in a.resident)
                agent = next(holders, agent)
            del idle[agent.id]
            swap = self._swap_seconds(agent, job.model_digest)
            placements.append(Placement(job=job, agent_id=agent.id, swap_seconds=swap))
        return Plan(placements=tuple(placements), unplaceable=())

    def settle(self, charge: Charge, seconds: float) -> None:
        """Most keep no books."""
        self.correct(charge, seconds - charge.seconds)

    def refund(self, charge: Charge) -> None:
        self.correct(charge, -charge.seconds)

    def correct(self, charge: Charge, seconds: float) -> None:
        """Where books are kept: add what was charged too little."""
        return

    def _swap_seconds(self, agent: AgentView, digest: str) -> float:
        if digest in agent.resident:
            return 0.0
        cached = digest in agent.cached
        return self.policy.cached_swap_seconds if cached else self.policy.load_seconds(digest)


class Fifo(PlainScheduler):
    """Whoever came first."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.line: deque[WaitingJob] = deque()

    @override
    def add(self, job: WaitingJob) -> None:
        self.line.append(job)

    @override
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        return self.line.popleft() if self.line else None


class Strict(PlainScheduler):
    """The most urgent tier, first come first served in it."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.lines: dict[Tier, deque[WaitingJob]] = {tier: deque() for tier in Tier}

    @override
    def add(self, job: WaitingJob) -> None:
        self.lines[job.tier].append(job)

    @override
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        return next((line.popleft() for line in self.lines.values() if line), None)


class Weighted(Strict):
    """Tiers share GPU-seconds 10 : 5 : 1 (background 0.1), first come first served in each."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.virtual = dict.fromkeys(Tier, 0.0)

    @override
    def add(self, job: WaitingJob) -> None:
        if not self.lines[job.tier]:
            busy = [self.virtual[tier] for tier, line in self.lines.items() if line]
            self.virtual[job.tier] = max(self.virtual[job.tier], min(busy, default=0.0))
        super().add(job)

    @override
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        waiting = [tier for tier, line in self.lines.items() if line]
        if not waiting:
            return None
        tier = min(waiting, key=lambda tier: self.virtual[tier])
        job = self.lines[tier].popleft()
        self.virtual[tier] += job.cost_seconds / WEIGHTS[tier]
        return job

    @override
    def correct(self, charge: Charge, seconds: float) -> None:
        self.virtual[charge.tier] += seconds / WEIGHTS[charge.tier]


class ResidentFirst(PlainScheduler):
    """A job for the model that is loaded; else the model with the greatest count × 10 + age."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.lines: dict[str, deque[WaitingJob]] = {}

    @override
    def add(self, job: WaitingJob) -> None:
        self.lines.setdefault(job.model_digest, deque()).append(job)

    @override
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        if not self.lines:
            return None
        resident = [digest for digest in sorted(agent.resident) if digest in self.lines]
        digest = max(
            resident or self.lines,
            key=lambda one: len(self.lines[one]) * 10 + now - self.lines[one][0].submitted_at,
        )
        job = self.lines[digest].popleft()
        if not self.lines[digest]:
            del self.lines[digest]
        return job


class RoundRobin(PlainScheduler):
    """Users in turn, one job each; of the next 32 in turn the first whose model is loaded."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.users: OrderedDict[Member, deque[WaitingJob]] = OrderedDict()

    @override
    def add(self, job: WaitingJob) -> None:
        self.users.setdefault((job.organization_id, job.user_id), deque()).append(job)

    @override
    def take(self, agent: AgentView, now: float) -> WaitingJob | None:
        if not self.users:
            return None
        turns = list(islice(self.users.items(), LOOK_AHEAD))
        fitting = (key for key, line in turns if line[0].model_digest in agent.resident)
        user = next(fitting, turns[0][0])
        line = self.users[user]
        job = line.popleft()
        if line:
            self.users.move_to_end(user)
        else:
            del self.users[user]
        return job


REFERENCES: Mapping[str, type[PlainScheduler]] = {
    "fifo": Fifo,
    "strict": Strict,
    "weighted": Weighted,
    "resident_first": ResidentFirst,
    "round_robin": RoundRobin,
}
