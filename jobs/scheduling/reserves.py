"""What the less urgent tiers are sure to get of one kind of agents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.scheduling.policy import Policy
from jobs.scheduling.rows import Tier


@dataclass(slots=True)
class Reserves:
    """`clock` counts the GPU-seconds given to all, `met[t]` up to where t has had its share.

    A tier whose `met` is more than the window behind the clock is due: it goes before the more
    urgent ones. What it gets beyond its share, because nobody else wanted it, is not held against
    it; what it missed while it did not wait is not owed to it.
    """

    policy: Policy
    clock: float = 0.0
    met: dict[str, float] = field(default_factory=dict)

    def wake(self, tier: str) -> None:
        """The tier begins to wait (or was held back by a limit of its own): nothing is owed."""
        self.met[tier] = max(self.met.get(tier, self.clock), self.clock)

    def due(self, tiers: Iterable[str], agents: int) -> list[str]:
        """Those of the tiers that must go first, the one that is furthest behind at the head, on
        so many agents of this kind.
        """
        limit = self.clock - self.policy.reserve_window_seconds * agents
        late = [t for t in tiers if self._share(t) and self.met.get(t, self.clock) < limit]
        return sorted(late, key=lambda tier: (self.met[tier], tier))

    def charge(self, tier: str, seconds: float, *, is_due: bool) -> float:
        """Write service to the tier; how much of it counts towards its share."""
        self.clock += seconds
        share = self._share(tier)
        if not share:
            return 0.0
        met = self.met.get(tier, self.clock)
        to = met + seconds / share
        if not is_due:
            to = min(to, max(met, self.clock))
        self.met[tier] = to
        return (to - met) * share

    def correct(self, tier: str, seconds: float, counted: float) -> None:
        """The charge was wrong by so much; `counted` of it was counted towards the share."""
        self.clock += seconds
        share = self._share(tier)
        if share and tier in self.met:
            self.met[tier] += counted / share

    def _share(self, tier: str) -> float:
        return self.policy.tier_reserves.get(Tier(tier), 0.0)
