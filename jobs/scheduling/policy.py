"""What may be tuned. An administrator's settings become one of these; nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.scheduling.rows import Tier

TIERS = tuple(Tier)  # the most urgent first
UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A queue keeps the policy it was made with until it is told to `use` another."""

    tier_reserves: Mapping[Tier, float] = field(
        default_factory=lambda: {Tier.FAST: 0.12, Tier.RELAX: 0.20, Tier.BACKGROUND: 0.01}
    )
    """The part of the GPU-seconds that a tier gets at least while it waits; the rest goes to the
    most urgent. Together at most 1."""
    reserve_window_seconds: float = 40.0
    """How long the most urgent may have all agents of a kind before reserves are due. W is this
    times the number of those agents."""
    patience_seconds: Mapping[Tier, float] = field(
        default_factory=lambda: {Tier.TURBO: 0.4, Tier.FAST: 6.0}
    )
    """How long a job lets others go first that need no loading, so that an agent loads its model
    whose own is wanted less. For models that load in `usual_load_seconds` or longer; less in
    proportion for quicker ones. Tiers not named: 0."""
    hope_seconds: Mapping[Tier, float] = field(
        default_factory=lambda: {Tier.TURBO: 1.3, Tier.FAST: 9.6}
    )
    """How long it waits at most: for a busy agent that holds its model, if that is free by then, or
    for one that loses much less by loading it. In proportion as above."""
    usual_load_seconds: float = 6.0
    window_seconds: float = 240.0
    """Q: how far, in GPU-seconds, fairness among organizations and users may bend for a model."""
    organization_weights: Mapping[str, float] = field(default_factory=dict)
    """Those not named weigh 1."""
    organization_cap: int | None = None
    """Jobs that an organization may have on agents at once."""
    organization_caps: Mapping[str, int] = field(default_factory=dict)
    """The same for some, instead of `organization_cap`; 0 gives one nothing."""
    member_cap: int | None = None
    """Jobs that one member of an organization may have on agents at once."""
    member_caps: Mapping[str, int] = field(default_factory=dict)
    """The same in some organizations, instead of `member_cap`."""
    scan_limit: int = 500
    """Users, and models of users, looked at in a tier for one decision, fairest first; narrows the
    window, never the fairness."""
    swap_seconds: Mapping[str, float] = field(default_factory=dict)
    """Measured load time by model digest."""
    default_swap_seconds: float = 6.0
    cached_swaps: Mapping[str, float] = field(default_factory=dict)
    """The same from host memory; those not named take `cached_swap_seconds`."""
    cached_swap_seconds: float = 0.5
    stage_ahead_seconds: float = 1.0
    """A busy agent is given its next job this long before it should be done."""
    floor_agents: int = 0
    """r: agents that take only jobs of at most `floor_seconds`."""
    floor_seconds: float = 30.0
    yielding_tiers: frozenset[Tier] = frozenset({Tier.RELAX, Tier.BACKGROUND})
    """Running jobs of these stop between two pictures when a more urgent one waits."""
    yield_gain_seconds: float = 1.0
    """Only if that brings the urgent job forward by so much."""
    keep_warm: Mapping[str, int] = field(default_factory=dict)
    """Pins: by model digest, on how many agents `preload` keeps it loaded."""
    keep_warm_labels: Mapping[str, str] = field(default_factory=dict)
    """Of pins that count only on agents with a label."""

    def __post_init__(self) -> None:
        reserves = self.tier_reserves.values()
        if any(share < 0 for share in reserves) or sum(reserves) > 1:
            raise ValueError(f"tier_reserves must be 0 to 1 together; got {self.tier_reserves}.")
        for cap in (self.organization_cap, self.member_cap, *self.member_caps.values()):
            if cap is not None and cap < 1:
                raise ValueError(f"Caps must be at least 1, or None; got {cap}.")
        if self.scan_limit < 1:
            raise ValueError("scan_limit must be at least 1.")
        if any(weight <= 0 for weight in self.organization_weights.values()):
            raise ValueError("organization_weights must be above 0.")

    def weight(self, depth: int, key: str) -> float:
        """The weight of a flow: depth 1 an organization, 2 a user (all equal)."""
        return self.organization_weights.get(key, 1.0) if depth == 1 else 1.0

    def cap_of(self, organization_id: str) -> float:
        """How many jobs the organization may have on agents."""
        cap = self.organization_caps.get(organization_id, self.organization_cap)
        return UNLIMITED if cap is None else cap

    def member_cap_in(self, organization_id: str) -> float:
        """How many jobs each of its members may have on agents."""
        cap = self.member_caps.get(organization_id, self.member_cap)
        return UNLIMITED if cap is None else cap

    def load_seconds(self, digest: str) -> float:
        """How long a model takes from disk."""
        return self.swap_seconds.get(digest, self.default_swap_seconds)

    def cached_load_seconds(self, digest: str) -> float:
        """How long a model takes from host memory; never longer than from disk."""
        measured = self.cached_swaps.get(digest, self.cached_swap_seconds)
        return min(measured, self.load_seconds(digest))

    def patience(self, tier: Tier, load_seconds: float) -> float:
        """How long to look for an agent that loses less by loading the model."""
        return self.patience_seconds.get(tier, 0.0) * self._part(load_seconds)

    def hope(self, tier: Tier, load_seconds: float) -> float:
        """How long to wait for an agent that need not load the model."""
        return self.hope_seconds.get(tier, 0.0) * self._part(load_seconds)

    def _part(self, load_seconds: float) -> float:
        return min(1.0, load_seconds / self.usual_load_seconds)
