"""What the scheduler is told and what it answers. Plain values; nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

FlowPath: TypeAlias = tuple[str, str, str]  # tier, organization, user


class Tier(StrEnum):
    """How soon; what it costs is not the scheduler's concern."""

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
    """One unit of work. A batch of n pictures is n of these."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be tuned. A queue keeps the policy it was made with."""

    window_seconds: float = 60.0
    """Q: how far, in GPU-seconds, fairness may bend for a resident model."""
    tier_weights: Mapping[Tier, float] = field(
        default_factory=lambda: {
            Tier.TURBO: 10.0,
            Tier.FAST: 5.0,
            Tier.RELAX: 1.0,
            Tier.BACKGROUND: 0.1,
        }
    )
    organization_weights: Mapping[str, float] = field(default_factory=dict)
    """Those not named weigh 1."""
    lookahead: int = 16
    """K: how many of a user's next jobs are considered."""
    scan_limit: int = 1000
    """Jobs looked at for one decision, fairest first; narrows the window, never the fairness."""
    in_flight_cap: int | None = None
    """Jobs an organization may have on agents at once."""
    swap_seconds: Mapping[str, float] = field(default_factory=dict)
    """Measured load time by model digest."""
    default_swap_seconds: float = 6.0
    cached_swap_seconds: float = 0.5
    stage_ahead_seconds: float = 5.0
    """A busy agent is given its next job this long before it should be done."""
    floor_agents: int = 0
    """r: agents that take only jobs of at most `floor_seconds`."""
    floor_seconds: float = 30.0

    def __post_init__(self) -> None:
        missing = [tier for tier in Tier if self.tier_weights.get(tier, 0.0) <= 0]
        if missing:
            raise ValueError(f"tier_weights must be above 0 for every tier; not so: {missing}.")
        if min(self.lookahead, self.scan_limit) < 1:
            raise ValueError("lookahead and scan_limit must be at least 1.")

    def weight(self, depth: int, key: str) -> float:
        """The weight of a flow: depth 0 a tier, 1 an organization, 2 a user (all equal)."""
        if depth == 0:
            return self.tier_weights[Tier(key)]
        return self.organization_weights.get(key, 1.0) if depth == 1 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """GPU-seconds written to a flow. Keep it with the attempt: settle and refund need it."""

    tier: Tier
    organization_id: str
    user_id: str
    seconds: float

    @property
    def path(self) -> FlowPath:
        return (self.tier, self.organization_id, self.user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Give this job to this agent."""

    job: WaitingJob
    agent_id: str
    swap_seconds: float

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
    def charge(self) -> Charge:
        return Charge(
            tier=self.job.tier,
            organization_id=self.job.organization_id,
            user_id=self.job.user_id,
            seconds=self.charged_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaceable:
    """Jobs with this need wait for an agent that is not there; `Queue.jobs_needing` lists them."""

    need: Need
    jobs: int
    reason: WaitReason
    data: Mapping[str, int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    placements: tuple[Placement, ...]
    unplaceable: tuple[Unplaceable, ...]


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
