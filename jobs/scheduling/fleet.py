"""What a plan must know of all agents at once: who holds what, who is free when, who has what to
lose.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from jobs.scheduling.index import AgentClass, Index
from jobs.scheduling.policy import TIERS
from jobs.scheduling.rows import AgentView, Tier

MUCH_LESS = 0.5


class Fleet:
    """The agents at the moment of planning, and what the plan has added since."""

    def __init__(self, agents: Sequence[AgentView], classes: Mapping[str, AgentClass]) -> None:
        self.agents = agents
        self.holders: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        """Agents at work on each machine."""
        self.free_at: dict[str, float] = {}
        """When the first of the busy agents that hold a model will be free."""
        self._classes = classes
        self._of_kind: dict[AgentClass, int] = {}
        self._least_losses: dict[str, tuple[list[float], list[float]]] = {}
        for agent in agents:
            for digest in agent.resident:
                self.holders[digest] += 1
            if agent.busy_until is None:
                continue
            self.busy[agent.machine] += 1
            for digest in agent.resident if agent.is_accepting else ():
                known = self.free_at.get(digest, agent.busy_until)
                self.free_at[digest] = min(known, agent.busy_until)

    def of_kind(self, kind: AgentClass) -> int:
        """How many agents there are of this kind."""
        if kind not in self._of_kind:
            self._of_kind[kind] = sum(known is kind for known in self._classes.values())
        return self._of_kind[kind]

    def worth(self, index: Index, digest: str, *tiers: Tier) -> float:
        """GPU-seconds that wait for a model, for each agent that would share them if one more
        held it.
        """
        return index.demand_seconds(digest, *tiers) / (1 + self.holders[digest])

    def loss(self, index: Index, resident: Collection[str]) -> float:
        """GPU-seconds that wait for these models, for each agent that shares them now."""
        return sum(
            index.demand_seconds(digest, *TIERS) / max(1, self.holders[digest])
            for digest in sorted(resident)
        )

    def has_less_to_lose(self, index: Index, loss: float, *, until: float) -> bool:
        """Whether an agent that is free by then would lose much less than that by loading
        another model.
        """
        if loss == 0:
            return False
        times, losses = self._least_losses.get(index.name) or self._sort_losses(index)
        free = bisect_right(times, until)
        return free > 0 and losses[free - 1] < loss * MUCH_LESS

    def _sort_losses(self, index: Index) -> tuple[list[float], list[float]]:
        """When agents will be free, and the least that one of those that are free by then loses."""
        found = sorted(
            (agent.busy_until, self.loss(index, agent.resident))
            for agent in self.agents
            if agent.busy_until is not None and agent.is_accepting
        )
        least = list(accumulate((loss for _, loss in found), min))
        self._least_losses[index.name] = ([at for at, _ in found], least)
        return self._least_losses[index.name]
