"""The backlog as a tree: tiers, their organizations and users, sorted by virtual time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from jobs.scheduling.fairness import Flow
from jobs.scheduling.policy import UNLIMITED, Policy
from jobs.scheduling.reserves import Reserves
from jobs.scheduling.rows import FlowPath, WaitingJob

Entry: TypeAlias = tuple[float, float, str]  # virtual, since, key
JobEntry: TypeAlias = tuple[int, float, str, WaitingJob]  # position, submitted_at, id, job


@dataclass(frozen=True, slots=True)
class AgentClass:
    """Agents that can take the same jobs share one index."""

    memory_bytes: int
    labels: frozenset[str]
    longest_seconds: float = UNLIMITED

    @property
    def name(self) -> str:
        """To find it again by what is kept with an attempt."""
        return f"{self.memory_bytes}/{self.longest_seconds}/{','.join(sorted(self.labels))}"

    def accepts(self, job: WaitingJob) -> bool:
        return (
            job.memory_bytes <= self.memory_bytes
            and job.cost_seconds <= self.longest_seconds
            and job.labels <= self.labels
        )


@dataclass(slots=True)
class Demand:
    """What waits for one model in one tier."""

    jobs: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Node:
    """A flow that has jobs waiting here."""

    entry: Entry
    children: dict[str, Node] = field(default_factory=dict)
    order: list[Entry] = field(default_factory=list)
    """The children's entries, least virtual time first."""
    waiting: list[JobEntry] = field(default_factory=list)
    """Of a user: the jobs in the owner's order."""
    by_model: dict[str, list[JobEntry]] = field(default_factory=dict)
    """The same for each model."""
    jobs: int = 0
    seconds: float = 0.0
    overtaken_seconds: float = 0.0
    """Of a user: what was given to later jobs while the present first one waited."""

    def add_child(self, key: str, flow: Flow) -> Node:
        child = self.children[key] = Node((flow.virtual, flow.since, key))
        insort(self.order, child.entry)
        return child

    def leave(self, job: WaitingJob) -> int:
        """Take the job out of the user's line; the place it had."""
        line, digest = place_in_line(job), job.model_digest
        place = bisect_left(self.waiting, line)  # a prefix of an entry sorts right before it
        del self.waiting[place]
        del self.by_model[digest][bisect_left(self.by_model[digest], line)]
        if not self.by_model[digest]:
            del self.by_model[digest]
        return place

    def drop_child(self, key: str) -> None:
        child = self.children.pop(key)
        del self.order[bisect_left(self.order, child.entry)]

    def move_child(self, child: Node, virtual: float) -> None:
        del self.order[bisect_left(self.order, child.entry)]
        child.entry = (virtual, child.entry[1], child.entry[2])
        insort(self.order, child.entry)


def place_in_line(job: WaitingJob) -> tuple[int, float, str]:
    return (job.position, job.submitted_at, job.id)


class Index:
    """The waiting jobs that one class of agents can take; all jobs if `agent_class` is None.

    Insertions and removals are a handful of binary searches: microseconds at 100,000 jobs.
    """

    def __init__(self, policy: Policy, agent_class: AgentClass | None = None) -> None:
        self.agent_class = agent_class
        self.name = agent_class.name if agent_class else ""
        self.root = Node((0.0, 0.0, ""))
        self.reserves = Reserves(policy)
        self.demand: dict[tuple[str, str], Demand] = {}
        """What waits in each tier for each model."""
        self.batches: dict[tuple[str, str], dict[str, WaitingJob]] = {}
        """What waits in each tier of each batch key, in the order in which it came."""

    def accepts(self, job: WaitingJob) -> bool:
        return self.agent_class is None or self.agent_class.accepts(job)

    def user(self, path: FlowPath) -> Node | None:
        node: Node | None = self.root
        for key in path:
            node = node.children.get(key) if node else None
        return node

    def insert(self, job: WaitingJob, flows: Sequence[Flow]) -> None:
        """`flows` are those of the job's path, tier first."""
        if job.tier not in self.root.children:
            self.reserves.wake(job.tier)
        node = self.root
        for key, flow in zip(job.path, flows, strict=True):
            child = node.children.get(key)
            if child is None:
                child = node.add_child(key, flow)
            child.jobs += 1
            child.seconds += job.cost_seconds
            node = child
        if job.batch_key:
            self.batches.setdefault((job.tier, job.batch_key), {})[job.id] = job
        entry = (*place_in_line(job), job)
        insort(node.waiting, entry)
        insort(node.by_model.setdefault(job.model_digest, []), entry)
        demand = self.demand.setdefault((job.tier, job.model_digest), Demand())
        demand.jobs += 1
        demand.seconds += job.cost_seconds

    def discard(self, job: WaitingJob, *, served_seconds: float = 0.0) -> None:
        """Take the job out; `served_seconds` above zero if it leaves for an agent."""
        nodes = [self.root]
        for key in job.path:
            nodes.append(nodes[-1].children[key])
        user = nodes[-1]
        place = user.leave(job)
        user.overtaken_seconds = user.overtaken_seconds + served_seconds if place else 0.0
        for depth in (2, 1, 0):
            child = nodes[depth + 1]
            child.jobs -= 1
            child.seconds -= job.cost_seconds
            if child.jobs == 0:
                nodes[depth].drop_child(job.path[depth])
        if job.batch_key:
            alike = self.batches[job.tier, job.batch_key]
            del alike[job.id]
            if not alike:
                del self.batches[job.tier, job.batch_key]
        demand = self.demand[job.tier, job.model_digest]
        demand.jobs -= 1
        demand.seconds -= job.cost_seconds
        if demand.jobs == 0:
            del self.demand[job.tier, job.model_digest]

    def demand_seconds(self, digest: str, *tiers: str) -> float:
        """GPU-seconds that wait for a model in these tiers."""
        found = (self.demand.get((tier, digest)) for tier in tiers)
        return sum(demand.seconds for demand in found if demand)

    def move(self, path: tuple[str, ...], flows: Sequence[Flow]) -> None:
        """Sort the flows of this path anew after their virtual times changed."""
        node = self.root
        for key, flow in zip(path, flows, strict=True):
            child = node.children.get(key)
            if child is None:
                return
            if child.entry[0] != flow.virtual:
                node.move_child(child, flow.virtual)
            node = child
