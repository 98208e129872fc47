"""Which waiting job goes to which free agent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from types import MappingProxyType

from jobs.scheduling.choosing import (
    Choice,
    Chooser,
    Held,
    Member,
    first_free,
    first_free_user,
    is_overtaken,
)
from jobs.scheduling.fitting import agent_classes, find_unplaceable
from jobs.scheduling.fleet import Fleet
from jobs.scheduling.index import Index, Node, place_in_line
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, Placement, Plan, WaitingJob
from jobs.scheduling.yielding import find_yields

COMPARED_RIDERS = 64  # of jobs that could be made in a batch with one
COMPARED_IDLE = 64  # of many idle agents; holders of the model are looked for among all
NOTHING_IN_FLIGHT: Mapping[str, int] = MappingProxyType({})
NO_MEMBERS_IN_FLIGHT: Mapping[Member, int] = MappingProxyType({})


def plan(
    queue: Queue,
    agents: Sequence[AgentView],
    *,
    now: float,
    in_flight: Mapping[str, int] = NOTHING_IN_FLIGHT,
    members_in_flight: Mapping[Member, int] = NO_MEMBERS_IN_FLIGHT,
) -> Plan:
    """Fill the free slots. The placed jobs leave `queue` and their charges are written to it.

    Idle agents come first, in the order of their ids; then those that will be done within
    `stage_ahead_seconds`. A placement that could not be made: `refund` it and `add` the job again.
    The counts of what runs, by organization and by member, are for the caps.
    """
    planner = _Planner(queue, agents, now, Counter(in_flight), Counter(members_in_flight))
    yields: tuple[str, ...] = ()
    if queue:
        planner.fill_idle()
        planner.stage()
        given = {placement.agent_id for placement in planner.placements}
        yields = find_yields(queue, agents, planner.classes, planner.held, now, given)
    return Plan(
        placements=tuple(planner.placements),
        unplaceable=find_unplaceable(queue, agents),
        yields=yields,
    )


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
        self,
        queue: Queue,
        agents: Sequence[AgentView],
        now: float,
        in_flight: Counter[str],
        members_in_flight: Counter[Member],
    ) -> None:
        self.queue = queue
        self.policy = queue.policy
        self.now = now
        self.in_flight = in_flight
        self.members_in_flight = members_in_flight
        self.capped = {
            key
            for key in (*in_flight, *self.policy.organization_caps)
            if in_flight[key] >= self.policy.cap_of(key)
        }
        self.stopped = {
            member for member, jobs in members_in_flight.items() if jobs >= self._member_cap(member)
        }
        self.held = Held(self.capped, self.stopped)
        self.placements: list[Placement] = []
        self.classes = agent_classes(agents, self.policy)
        self.fleet = Fleet(agents, self.classes)
        self.seats = [
            _Seat(
                agent,
                queue.index_for(self.classes[agent.id]),
                agent.free_slots,
                set(agent.resident),
                agent.busy_until,
            )
            for agent in sorted(agents, key=lambda agent: agent.id)
            if agent.is_accepting and agent.free_slots > 0
        ]

    def fill_idle(self) -> None:
        for seat in self.seats:
            while seat.is_open and (choice := self._choose(seat)) is not None:
                self._place(choice, self._best_idle(seat, choice.job))

    def stage(self) -> None:
        """Choose what busy agents do next, late enough that a more urgent job can still come."""
        horizon = self.now + self.policy.stage_ahead_seconds
        seats = [
            seat
            for seat in self.seats
            if seat.busy_until is not None and seat.busy_until <= horizon and seat.free_slots > 0
        ]
        while seats:
            seat = min(seats, key=lambda seat: (seat.busy_until or 0.0, seat.agent.id))
            choice = self._choose(seat)
            if choice is not None:
                self._place(choice, seat)
            is_due = seat.free_slots > 0 and (seat.busy_until or 0.0) <= horizon
            if choice is None or not is_due:
                seats.remove(seat)

    def _choose(self, seat: _Seat) -> Choice | None:
        """What this agent should do next."""
        loss = self.fleet.loss(seat.index, seat.resident)
        return Chooser(
            index=seat.index,
            agents=self.fleet.of_kind(self.classes[seat.agent.id]),
            policy=self.policy,
            held=self.held,
            now=self.now,
            resident=seat.resident,
            swap_seconds=lambda digest: self._swap_seconds(seat, digest),
            worth=lambda digest, tier: self.fleet.worth(seat.index, digest, tier),
            free_at=self.fleet.free_at.get,
            is_cheaper_elsewhere=lambda until: self.fleet.has_less_to_lose(
                seat.index, loss, until=until
            ),
        ).choose()

    def _swap_seconds(self, seat: _Seat, digest: str) -> float:
        if digest in seat.resident:
            return 0.0
        if digest in seat.agent.cached:
            return self.policy.cached_load_seconds(digest)
        return self.policy.load_seconds(digest)

    def _best_idle(self, seat: _Seat, job: WaitingJob) -> _Seat:
        """The idle agent that loads the job's model fastest; then the one whose own models are
        wanted least, on the machine that has least to do.
        """
        if job.model_digest in seat.resident:
            return seat
        able = (other for other in self.seats if other.is_open and other.index.accepts(job))
        compared = [seat]
        for other in able:
            if job.model_digest in other.resident:
                return other
            if len(compared) < COMPARED_IDLE:
                compared.append(other)
        return min(compared, key=lambda other: self._cost_of_taking(other, job.model_digest))

    def _cost_of_taking(self, seat: _Seat, digest: str) -> tuple[float, float, int, str]:
        return (
            self._swap_seconds(seat, digest),
            self.fleet.loss(seat.index, seat.resident),
            self.fleet.busy[seat.agent.machine],
            seat.agent.id,
        )

    def _place(self, choice: Choice, seat: _Seat) -> None:
        """Give the job to the agent, and with it jobs that can be made in one batch with it."""
        self._put(choice, seat)
        if choice.job.batch_key:
            for _ in range(seat.agent.batch_limit - 1):
                rider = self._rider(seat, choice.job)
                if rider is None:
                    break
                self._put(Choice(rider, 0.0), seat, rides_with=choice.job.id)

    def _rider(self, seat: _Seat, lead: WaitingJob) -> WaitingJob | None:
        """The fairest of those that could ride: of the same tier only, since each makes the others
        wait a little, and none that a limit or its owner's own order holds back.
        """
        alike = seat.index.batches.get((lead.tier, lead.batch_key), {})
        able = [job for job in islice(alike.values(), COMPARED_RIDERS) if self._may_ride(seat, job)]
        return min(able, key=self._place_of, default=None)

    def _may_ride(self, seat: _Seat, job: WaitingJob) -> bool:
        member = (job.organization_id, job.user_id)
        if job.organization_id in self.held.organizations or member in self.held.members:
            return False
        user = seat.index.user(job.path)
        if user is None or not is_overtaken(user, self.policy):
            return True
        return user.waiting[0][3] is job

    def _place_of(self, job: WaitingJob) -> tuple[object, ...]:
        _root, _tier, organization, user = self.queue.state.flows(job.path)
        return (organization.virtual, user.virtual, *place_in_line(job))

    def _put(self, choice: Choice, seat: _Seat, *, rides_with: str = "") -> None:
        job = choice.job
        if self.held:
            self._keep_pace(seat.index)
        swap = self._swap_seconds(seat, job.model_digest)
        counted = seat.index.reserves.charge(
            job.tier, job.cost_seconds + swap, is_due=choice.is_due
        )
        placement = Placement(
            job=job,
            agent_id=seat.agent.id,
            swap_seconds=swap,
            counted_seconds=counted,
            pool=seat.index.name,
            rides_with=rides_with,
        )
        self.placements.append(placement)
        self.queue.take(job, placement.charge)
        if not rides_with:
            seat.free_slots -= 1
        if seat.busy_until is None:
            self.fleet.busy[seat.agent.machine] += 1
        if job.model_digest not in seat.resident:
            self.fleet.holders[job.model_digest] += 1
            seat.resident.add(job.model_digest)
        seat.busy_until = max(self.now, seat.busy_until or 0.0) + placement.busy_seconds
        self._count(job)

    def _count(self, job: WaitingJob) -> None:
        """Note who has reached a limit with this job."""
        organization_id, member = job.organization_id, (job.organization_id, job.user_id)
        self.in_flight[organization_id] += 1
        if self.in_flight[organization_id] >= self.policy.cap_of(organization_id):
            self.capped.add(organization_id)
        self.members_in_flight[member] += 1
        if self.members_in_flight[member] >= self._member_cap(member):
            self.stopped.add(member)

    def _member_cap(self, member: Member) -> float:
        return self.policy.member_cap_in(member[0])

    def _keep_pace(self, index: Index) -> None:
        """What a limit keeps somebody from using is not owed later, when it would come as a burst
        that stops everybody else.
        """
        for tier, node in list(index.root.children.items()):
            first = first_free(node, self.held)
            if first is None:
                index.reserves.wake(tier)
                continue
            behind = [entry[2] for entry in takewhile(first.__gt__, node.order)]
            for organization_id in behind:
                self.queue.lift((tier, organization_id), first[0])
            if self.held.members:
                self._keep_members_pace(tier, node)

    def _keep_members_pace(self, tier: str, node: Node) -> None:
        for organization_id, organization in node.children.items():
            first = first_free_user(organization, organization_id, self.held)
            if first is None:
                continue
            behind = [entry[2] for entry in takewhile(first.__gt__, organization.order)]
            for user_id in behind:
                self.queue.lift((tier, organization_id, user_id), first[0])
