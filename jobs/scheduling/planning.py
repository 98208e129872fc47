"""Which waiting job goes to which free agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from types import MappingProxyType

from jobs.scheduling.fitting import agent_classes, find_unplaceable
from jobs.scheduling.index import Entry, Index, Node
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, Placement, Plan, Policy, WaitingJob

NOTHING_IN_FLIGHT: Mapping[str, int] = MappingProxyType({})


def plan(
    queue: Queue,
    agents: Sequence[AgentView],
    *,
    now: float,
    in_flight: Mapping[str, int] = NOTHING_IN_FLIGHT,
) -> Plan:
    """Fill the free slots. The placed jobs leave `queue` and their charges are written to it.

    Idle agents come first, in the order of their ids; then those that will be done within
    `stage_ahead_seconds`. A placement that could not be made: `refund` it and `add` the job again.
    `in_flight` counts each organization's jobs on agents, for the cap.
    """
    planner = _Planner(queue, agents, now, in_flight)
    if queue:
        planner.fill_idle()
        planner.stage()
    return Plan(placements=tuple(planner.placements), unplaceable=find_unplaceable(queue, agents))


def candidates(root: Node, policy: Policy, capped: Container[str]) -> Iterator[WaitingJob]:
    """The jobs that may go next, the fairest first: by virtual time of tier, organization, user,
    then the owner's order. All within the window of the least virtual time at their level.
    """
    window = policy.window_seconds
    least = None
    for virtual, _, tier in root.order:
        node = root.children[tier]
        first = first_free(node, capped)
        if first is None:
            continue
        if least is None:
            least = virtual
        if virtual <= least + window / policy.weight(0, tier):
            yield from _of_tier(node, policy, capped, first[0])


def first_free(tier: Node, capped: Container[str]) -> Entry | None:
    """The tier's organization of least virtual time that is under its limit."""
    return next((entry for entry in tier.order if entry[2] not in capped), None)


def _of_tier(
    tier: Node, policy: Policy, capped: Container[str], least: float
) -> Iterator[WaitingJob]:
    window = policy.window_seconds
    for virtual, _, key in tier.order:
        if key in capped:
            continue
        if virtual > least + window / policy.weight(1, key):
            return
        organization = tier.children[key]
        limit = organization.order[0][0] + window
        for user_virtual, _, user_id in organization.order:
            if user_virtual > limit:
                break
            user = organization.children[user_id]
            # The window holds within a user's own line, too, or a job whose model is nowhere
            # resident would wait forever behind later ones of the same user.
            is_overdue = user.overtaken_seconds >= window
            for entry in user.waiting[: 1 if is_overdue else policy.lookahead]:
                yield entry[3]


@dataclass(slots=True)
class _Seat:
    """An agent while the plan is being made."""

    agent: AgentView
    index: Index
    free_slots: int
    resident: set[str]
    busy_until: float | None

    @property
    def is_open(self) -> bool:
        return self.busy_until is None and self.free_slots > 0


class _Planner:
    def __init__(
        self, queue: Queue, agents: Sequence[AgentView], now: float, in_flight: Mapping[str, int]
    ) -> None:
        self.queue = queue
        self.policy = queue.policy
        self.now = now
        self.in_flight = Counter(in_flight)
        cap = self.policy.in_flight_cap
        self.capped = {key for key, jobs in in_flight.items() if cap is not None and jobs >= cap}
        self.placements: list[Placement] = []
        classes = agent_classes(agents, self.policy)
        self.seats = [
            _Seat(
                agent,
                queue.index_for(classes[agent.id]),
                agent.free_slots,
                set(agent.resident),
                agent.busy_until,
            )
            for agent in sorted(agents, key=lambda agent: agent.id)
            if agent.is_accepting and agent.free_slots > 0
        ]

    def fill_idle(self) -> None:
        for seat in self.seats:
            while seat.is_open and (job := self._pick(seat)) is not None:
                self._place(job, self._idle_holder(seat, job) or seat)

    def stage(self) -> None:
        """Choose what busy agents do next, late enough that a more urgent job can still come."""
        horizon = self.now + self.policy.stage_ahead_seconds
        seats = [seat for seat in self.seats if seat.busy_until is not None]
        while seats:
            seat = min(seats, key=lambda seat: (seat.busy_until or 0.0, seat.agent.id))
            is_due = seat.free_slots > 0 and (seat.busy_until or 0.0) <= horizon
            job = self._pick(seat) if is_due else None
            if job is None:
                seats.remove(seat)
            else:
                self._place(job, seat)

    def _pick(self, seat: _Seat) -> WaitingJob | None:
        """The job with the least swap; among those the fairest."""
        best, best_swap = None, float("inf")
        jobs = candidates(seat.index.root, self.policy, self.capped)
        for job in islice(jobs, self.policy.scan_limit):
            swap = self._swap_seconds(seat, job.model_digest)
            if swap < best_swap:
                best, best_swap = job, swap
                if swap == 0:
                    break
        return best

    def _swap_seconds(self, seat: _Seat, digest: str) -> float:
        if digest in seat.resident:
            return 0.0
        if digest in seat.agent.cached:
            return self.policy.cached_swap_seconds
        return self.policy.swap_seconds.get(digest, self.policy.default_swap_seconds)

    def _idle_holder(self, seat: _Seat, job: WaitingJob) -> _Seat | None:
        """Another idle agent that would not have to load the job's model."""
        if job.model_digest in seat.resident:
            return None
        for other in self.seats:
            if other.is_open and job.model_digest in other.resident and other.index.accepts(job):
                return other
        return None

    def _place(self, job: WaitingJob, seat: _Seat) -> None:
        if self.capped:
            self._keep_pace(seat.index.root)
        swap = self._swap_seconds(seat, job.model_digest)
        placement = Placement(job=job, agent_id=seat.agent.id, swap_seconds=swap)
        self.placements.append(placement)
        self.queue.take(job, placement.charge)
        seat.free_slots -= 1
        seat.resident.add(job.model_digest)
        seat.busy_until = max(self.now, seat.busy_until or 0.0) + placement.charged_seconds
        self.in_flight[job.organization_id] += 1
        cap = self.policy.in_flight_cap
        if cap is not None and self.in_flight[job.organization_id] >= cap:
            self.capped.add(job.organization_id)

    def _keep_pace(self, root: Node) -> None:
        """What a limit keeps an organization (or a tier that has no other) from using is not owed
        to it later, when it would come as a burst that stops everybody else.
        """
        free = {tier: first_free(node, self.capped) for tier, node in root.children.items()}
        # Never empty: the job that is being placed is of one of these.
        least = min(root.children[tier].entry[0] for tier, first in free.items() if first)
        for tier, first in free.items():
            if first is None:
                self.queue.lift((tier,), least)
                continue
            behind = [entry[2] for entry in takewhile(first.__gt__, root.children[tier].order)]
            for organization_id in behind:
                self.queue.lift((tier, organization_id), first[0])
