"""The waiting jobs and what is owed to whom, kept together and up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.scheduling.fairness import FairState, Flow
from jobs.scheduling.index import AgentClass, Index, Node
from jobs.scheduling.policy import Policy
from jobs.scheduling.rows import Charge, FlowPath, Need, Tier, WaitingJob

# Kinds of agents whose index is kept. More are possible, then the longest unused is built anew.
MAX_CLASSES = 16


class Queue:
    """Owned and changed by one dispatcher; not for threads. Rebuilt from rows after a restart:
    `Queue(policy=…, state=FairState.from_json(saved), waiting=rows)`.

    `state` is this queue's own from here on: read it (`to_json`), never share or change it.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        state: FairState | None = None,
        waiting: Iterable[WaitingJob] = (),
    ) -> None:
        self.policy = policy or Policy()
        self.state = state or FairState()
        self.everything = Index(self.policy)
        self._classes: dict[AgentClass, Index] = {}
        self._jobs: dict[str, WaitingJob] = {}
        self._needs: dict[Need, dict[str, None]] = {}
        self._restore(waiting)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def use(self, policy: Policy) -> None:
        """Decide by this policy from now on. What was charged stays charged."""
        self.policy = policy
        for index in (self.everything, *self._classes.values()):
            index.reserves.policy = policy

    def get(self, job_id: str) -> WaitingJob | None:
        return self._jobs.get(job_id)

    def head(self, tier: Tier, organization_id: str, user_id: str) -> WaitingJob | None:
        """The first job in this user's own order."""
        user = self.everything.user((tier, organization_id, user_id))
        return user.waiting[0][3] if user else None

    def needs(self) -> dict[Need, int]:
        """How many jobs wait for each kind of agent."""
        return {need: len(ids) for need, ids in self._needs.items()}

    def jobs_needing(self, need: Need) -> tuple[str, ...]:
        return tuple(self._needs.get(need, ()))

    def add(self, job: WaitingJob) -> None:
        """Put a job in line; adding it again replaces it (reordered, estimated anew)."""
        known = self._jobs.get(job.id)
        if known == job:
            return
        if known is not None:
            self.remove(job.id)
        flows = self.state.flows(job.path)
        classes = [index for index in self._classes.values() if index.accepts(job)]
        self._wake(job, flows, classes)
        self._jobs[job.id] = job
        self._needs.setdefault(job.need, {})[job.id] = None
        for index in (self.everything, *classes):
            index.insert(job, flows[1:])

    def remove(self, job_id: str) -> WaitingJob | None:
        """Take a job out without service: canceled, or failed while it waited."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._discard(job, served_seconds=0.0)
        return job

    def take(self, job: WaitingJob, charge: Charge) -> None:
        """The job leaves for an agent. The charge first: leaving may close the flow's books."""
        self.charge(charge.path, charge.seconds)
        self._discard(job, served_seconds=charge.seconds)

    def charge(self, path: FlowPath, seconds: float) -> None:
        """Write service to an organization and its user; below zero gives back.

        Tiers have no virtual time: what they are sure of is in each kind of agents' `reserves`.
        """
        flows = self.state.flows(path)
        for depth in (1, 2):
            flows[depth + 1].virtual += seconds / self.policy.weight(depth, path[depth])
        self._resort(path, flows)

    def correct(self, charge: Charge, actual_seconds: float) -> None:
        """Replace what a charge wrote by what it should have been."""
        change = actual_seconds - charge.seconds
        self.charge(charge.path, change)
        for index in self._classes.values():
            if index.name == charge.pool and charge.seconds > 0:
                counted = charge.counted_seconds * change / charge.seconds
                index.reserves.correct(charge.tier, change, counted)

    def lift(self, path: tuple[str, ...], floor: float) -> None:
        """Raise a flow that was held back by its own limit: what it could not use is not owed."""
        flows = self.state.flows(path)
        if flows[-1].virtual < floor:
            flows[-1].virtual = floor
            self._resort(path, flows)

    def index_for(self, agent_class: AgentClass) -> Index:
        """The jobs that such agents can take; built at the first question, then kept up to date."""
        index = self._classes.pop(agent_class, None)
        if index is None:
            index = Index(self.policy, agent_class)
            for job in self._jobs.values():
                if agent_class.accepts(job):
                    index.insert(job, self.state.flows(job.path)[1:])
        self._classes[agent_class] = index  # the most recently used last
        if len(self._classes) > MAX_CLASSES:
            del self._classes[next(iter(self._classes))]
        return index

    def _restore(self, waiting: Iterable[WaitingJob]) -> None:
        # Flows that waited when the state was saved keep their virtual times; they come first,
        # so that those that are new start at the minimum of these.
        late = []
        for job in waiting:
            if all(flow.is_backlogged for flow in self.state.flows(job.path)[1:]):
                self.add(job)
            else:
                late.append(job)
        for job in late:
            self.add(job)
        for path, flow in self.state.walk():
            node: Node | None = self.everything.root
            for key in path:
                node = node.children.get(key) if node else None
            flow.is_backlogged = node is not None
        for flow in [self.state.root, *[flow for _, flow in self.state.walk()]]:
            if not any(child.is_backlogged for child in flow.children.values()):
                flow.forget_all()

    def _wake(self, job: WaitingJob, flows: Sequence[Flow], classes: Sequence[Index]) -> None:
        """A flow that was idle, for all agents or for one kind of them, starts at the minimum of
        those that wait there: no credit is banked, not even behind a job that fits nowhere.
        """
        nodes: list[Node | None] = [self.everything.root, *(index.root for index in classes)]
        is_lifted = False
        for depth, key in enumerate(job.path):
            parent, flow = flows[depth], flows[depth + 1]
            node = nodes[0]
            is_known = node is not None and key in node.children
            if is_known or not flow.is_backlogged:  # else: restored, keeps its virtual time
                floors = [n.order[0][0] for n in nodes if n and n.order and key not in n.children]
                if not is_known and not (node and node.order):
                    floors.append(parent.clock)
                floor = max(floors, default=flow.virtual)
                if floor > flow.virtual:
                    flow.virtual = floor
                    is_lifted = True
            if not flow.is_backlogged:
                flow.since = job.submitted_at
                flow.is_backlogged = True
            nodes = [n.children.get(key) if n else None for n in nodes]
        if is_lifted:
            self._resort(job.path, flows)

    def _discard(self, job: WaitingJob, *, served_seconds: float) -> None:
        del self._jobs[job.id]
        ids = self._needs[job.need]
        del ids[job.id]
        if not ids:
            del self._needs[job.need]
        self.everything.discard(job, served_seconds=served_seconds)
        for index in self._classes.values():
            if index.accepts(job):
                index.discard(job, served_seconds=served_seconds)
        self._close_idle(job.path)

    def _close_idle(self, path: FlowPath) -> None:
        flows = self.state.flows(path)
        nodes: list[Node | None] = [self.everything.root]
        for key in path:
            nodes.append(nodes[-1].children.get(key) if nodes[-1] else None)
        for depth in (2, 1, 0):
            if nodes[depth + 1] is not None:
                return
            parent, flow, siblings = flows[depth], flows[depth + 1], nodes[depth]
            flow.is_backlogged = False
            if not (siblings and siblings.order):
                parent.forget_all()
            elif flow.virtual <= siblings.order[0][0]:
                del parent.children[path[depth]]

    def _resort(self, path: tuple[str, ...], flows: Sequence[Flow]) -> None:
        for index in (self.everything, *self._classes.values()):
            index.move(path, flows[1:])


def settle(queue: Queue, charge: Charge, actual_seconds: float) -> None:
    """The attempt is over: replace the estimate by what it took, loading the model included."""
    queue.correct(charge, actual_seconds)


def refund(queue: Queue, charge: Charge) -> None:
    """The attempt came to nothing through no fault of its owner: give everything back."""
    queue.correct(charge, 0.0)
