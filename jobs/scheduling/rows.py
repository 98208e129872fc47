"""What the scheduler is told and what it answers. Plain values; nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

FlowPath: TypeAlias = tuple[str, str, str]  # tier, organization, user
# What one more picture in a batch costs of what it costs alone. Measured on a CPU: 0.41 in one of
# four; a GPU has it cheaper. Too much only means that the next job is chosen a little late.
RIDER_PART = 0.5


class Tier(StrEnum):
    """How soon, the most urgent first; what it costs is not the scheduler's concern."""

    TURBO = "turbo"
    FAST = "fast"
    RELAX = "relax"
    BACKGROUND = "background"


class WaitReason(StrEnum):
    """Why a job waits. The first four: no agent can take it as things stand."""

    NO_AGENT = "queue.no_agent"
    AGENT_DRAINING = "queue.agent_draining"
    DOES_NOT_FIT = "queue.does_not_fit"
    MISSING_LABEL = "queue.missing_label"
    ORGANIZATION_LIMIT = "queue.organization_limit"
    MEMBER_LIMIT = "queue.member_limit"
    OWN_JOBS_FIRST = "queue.own_jobs_first"
    OTHERS_FIRST = "queue.others_first"
    AGENTS_BUSY = "queue.agents_busy"
    NEXT = "queue.next"


@dataclass(frozen=True, slots=True)
class Need:
    """What an agent must have to run a job at all."""

    memory_bytes: int
    labels: frozenset[str] = frozenset()

    def is_met_by(self, agent: AgentView) -> bool:
        return self.memory_bytes <= agent.memory_bytes and self.labels <= agent.labels


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """One unit of work: what is left to make of a job of one or more pictures."""

    id: str
    organization_id: str
    user_id: str
    tier: Tier
    model_digest: str
    cost_seconds: float
    """Estimated seconds on an agent that holds the model; above zero."""
    memory_bytes: int
    submitted_at: float
    position: int = 0
    """The owner's own ordering; ties by `submitted_at`, then `id`."""
    labels: frozenset[str] = frozenset()
    """Labels the agent must carry."""
    pictures: int = 1
    """How many are left to make; between two of them the job can be handed back."""
    batch_key: str = ""
    """Jobs of one key can be made in one batch; empty: it is made alone."""

    def __post_init__(self) -> None:
        if not 0 < self.cost_seconds < float("inf"):
            raise ValueError(f"cost_seconds must be above 0 but is {self.cost_seconds}.")

    @property
    def path(self) -> FlowPath:
        return (self.tier, self.organization_id, self.user_id)

    @property
    def need(self) -> Need:
        return Need(self.memory_bytes, self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """An agent as the scheduler sees it."""

    id: str
    free_slots: int
    """How many more jobs it may be given now, counting the one that waits behind a running one."""
    memory_bytes: int
    resident: frozenset[str] = frozenset()
    """Models on the GPU: no swap."""
    cached: frozenset[str] = frozenset()
    """Models in pinned host memory: a short swap."""
    busy_until: float | None = None
    """When what it holds should be done; None while it is idle."""
    is_accepting: bool = True
    labels: frozenset[str] = frozenset()
    machine: str = ""
    """Agents of one machine share its disk and its memory: loads are spread over machines."""
    running: Tier | None = None
    """The most urgent tier among the jobs it holds."""
    yields_at: float | None = None
    """When the running job could be handed back: its next picture is done and more follow."""
    is_yielding: bool = False
    """It was asked already."""
    resident_order: tuple[str, ...] = ()
    """The models of `resident`, the longest unused first; for `preload`."""
    room: int = 0
    """How many more models fit beside them; for `preload`."""
    batch_limit: int = 1
    """How many jobs it makes at once, if they have one key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """GPU-seconds written to a flow. Keep it with the attempt: settle and refund need it."""

    tier: Tier
    organization_id: str
    user_id: str
    seconds: float
    counted_seconds: float = 0.0
    """The part that counted towards the tier's reserve."""
    pool: str = ""
    """The kind of agents whose reserve that was."""

    @property
    def path(self) -> FlowPath:
        return (self.tier, self.organization_id, self.user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Give this job to this agent."""

    job: WaitingJob
    agent_id: str
    swap_seconds: float
    counted_seconds: float = 0.0
    pool: str = ""
    rides_with: str = ""
    """The job that it is to be made in one batch with; it takes no slot of its own."""

    @property
    def job_id(self) -> str:
        return self.job.id

    @property
    def is_swap(self) -> bool:
        return self.swap_seconds > 0

    @property
    def charged_seconds(self) -> float:
        """The estimate and the swap: who causes it pays for it."""
        return self.job.cost_seconds + self.swap_seconds

    @property
    def busy_seconds(self) -> float:
        """How much longer the agent is busy for it."""
        return self.charged_seconds * (RIDER_PART if self.rides_with else 1.0)

    @property
    def charge(self) -> Charge:
        return Charge(
            tier=self.job.tier,
            organization_id=self.job.organization_id,
            user_id=self.job.user_id,
            seconds=self.charged_seconds,
            counted_seconds=self.counted_seconds,
            pool=self.pool,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaceable:
    """Jobs with this need wait for an agent that is not there; `Queue.jobs_needing` lists them."""

    need: Need
    jobs: int
    reason: WaitReason
    data: Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """Let this idle agent load this model before anybody asks; `evict` names what may go for it."""

    agent_id: str
    model_digest: str
    evict: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    placements: tuple[Placement, ...]
    unplaceable: tuple[Unplaceable, ...]
    yields: tuple[str, ...] = ()
    """Agents to ask to hand back the rest of their job after the picture they are making."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job waits, for its owner. The numbers are estimates: fair shares, no affinity."""

    job_id: str
    jobs_ahead: int
    own_jobs_ahead: int
    seconds_ahead: float
    """GPU-seconds; divide by the ready agents for a waiting time."""
    reason: WaitReason
    data: Mapping[str, int | float | str]

    @property
    def position(self) -> int:
        return self.jobs_ahead + 1
