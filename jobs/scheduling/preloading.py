"""Which model an idle agent should load before anybody asks it to, and which may go for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from jobs.scheduling.policy import TIERS, UNLIMITED, Policy
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, Preload

HOUR = 3600.0
DAY_HOURS = 24
RECENT_HALF_LIFE = HOUR
DAILY_HALF_LIFE = 7 * 24 * HOUR
NEVER_ASKED = 1e-3
"""GPU-seconds an hour below which a model is not worth loading in advance."""
MUCH_MORE = 2.0
"""How much more a guess must be asked for than what would go for it: else two models that are
liked alike would push each other out for ever."""


@dataclass(slots=True)
class Popularity:
    """GPU-seconds asked for by model: during the last hours, and at this hour of earlier days."""

    recent: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By model: seconds, and when that was written; halves every hour."""
    hourly: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By model, for each hour of the day (UTC): the same; halves every week."""

    def note(self, digest: str, seconds: float, *, at: float) -> None:
        """A job for this model was asked for."""
        self.recent[digest] = _grown(self.recent.get(digest), seconds, at, RECENT_HALF_LIFE)
        hours = self.hourly.setdefault(digest, [(0.0, at)] * DAY_HOURS)
        hour = _hour(at)
        hours[hour] = _grown(hours[hour], seconds, at, DAILY_HALF_LIFE)

    def rate(self, digest: str, *, at: float) -> float:
        """GPU-seconds an hour to be expected: what was asked lately, or at this hour before."""
        recent = _faded(self.recent.get(digest), at, RECENT_HALF_LIFE)
        hours = self.hourly.get(digest)
        daily = _faded(hours[_hour(at)], at, DAILY_HALF_LIFE) if hours else 0.0
        return recent / 2 + daily / (2 * DAILY_HALF_LIFE / (24 * HOUR))

    def forget_old(self, *, at: float) -> None:
        """Drop models that nobody is expected to ask for at any hour."""
        for digest in list(self.hourly):
            seconds = sum(_faded(one, at, DAILY_HALF_LIFE) for one in self.hourly[digest])
            if seconds < NEVER_ASKED:
                del self.hourly[digest]
                self.recent.pop(digest, None)

    def to_json(self) -> dict[str, Any]:
        """JSON values, sorted."""
        return {
            "recent": {key: list(one) for key, one in sorted(self.recent.items())},
            "hourly": {
                key: [list(one) for one in hours] for key, hours in sorted(self.hourly.items())
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            recent={key: (float(s), float(at)) for key, (s, at) in data["recent"].items()},
            hourly={
                key: [(float(s), float(at)) for s, at in hours]
                for key, hours in data["hourly"].items()
            },
        )


def preload(
    queue: Queue,
    agents: Sequence[AgentView],
    *,
    popularity: Popularity,
    memory_bytes: Mapping[str, int],
    now: float,
    with_pins: bool = True,
) -> tuple[Preload, ...]:
    """What idle agents should load: first what is pinned and held by too few, then the model for
    which most GPU-seconds wait and that nobody holds, then the one most asked for at this hour.

    `memory_bytes` says what each known model needs. A model with a queued job or a pin is never
    evicted for a guess, nor one that is asked for nearly as much; an agent that holds nothing else
    is left alone. An agent whose `resident` are in order of use (longest unused first) loses the
    longest unused. Without `with_pins` somebody else sees to it that pinned models are loaded.
    """
    holders = Counter(digest for agent in agents for digest in agent.resident)
    rates = {d: popularity.rate(d, at=now) / max(1, holders[d]) for d in popularity.hourly}
    wishes = _pinned(queue.policy, agents) if with_pins else []
    wishes += _unpinned(queue, holders, rates)
    idle = [
        agent
        for agent in sorted(agents, key=lambda agent: agent.id)
        if agent.busy_until is None and agent.is_accepting and agent.free_slots > 0
    ]
    kept = kept_models(queue, agents)
    found = []
    for digest, label, worth in wishes:
        if not idle:
            break
        stays = kept | {one for one, rate in rates.items() if rate * MUCH_MORE > worth}
        able = [
            agent
            for agent in idle
            if digest not in agent.resident
            and memory_bytes.get(digest, UNLIMITED) <= agent.memory_bytes
            and (not label or label in agent.labels)
            and (agent.room > 0 or any(one not in stays for one in agent.resident_order))
        ]
        if able:
            chosen = min(able, key=lambda agent: (digest not in agent.cached, agent.room <= 0))
            idle.remove(chosen)
            evict = None if chosen.room > 0 else choose_eviction(chosen.resident_order, stays)
            found.append(Preload(agent_id=chosen.id, model_digest=digest, evict=evict))
    return tuple(found)


def choose_eviction(resident_order: Sequence[str], kept: Collection[str]) -> str | None:
    """The longest unused model that is not to be kept; None if all are."""
    return next((digest for digest in resident_order if digest not in kept), None)


def kept_models(queue: Queue, agents: Sequence[AgentView]) -> frozenset[str]:
    """Models that leave no agent for a guess: jobs wait for them, or a pin can spare no agent."""
    holders = Counter(digest for agent in agents for digest in agent.resident)
    needed = {d for d, agents in queue.policy.keep_warm.items() if holders[d] <= agents}
    return frozenset(needed | {digest for _, digest in queue.everything.demand})


_Wish: TypeAlias = tuple[str, str, float]  # model, label the agent must carry, what it is worth


def _pinned(policy: Policy, agents: Sequence[AgentView]) -> list[_Wish]:
    """Pins that are held by too few."""
    wishes: list[_Wish] = []
    for digest in sorted(policy.keep_warm):
        label = policy.keep_warm_labels.get(digest, "")
        wishes += [(digest, label, UNLIMITED)] * _missing(policy, digest, label, agents)
    return wishes


def _unpinned(queue: Queue, holders: Counter[str], rates: Mapping[str, float]) -> list[_Wish]:
    """Models that nobody holds: those that jobs wait for, then those that are liked."""
    waiting = {digest for _, digest in queue.everything.demand if not holders[digest]}
    by_demand = sorted(waiting, key=lambda d: (-queue.everything.demand_seconds(d, *TIERS), d))
    liked = [d for d, rate in rates.items() if rate >= NEVER_ASKED and not holders[d]]
    by_rate = sorted(set(liked) - waiting, key=lambda digest: (-rates[digest], digest))
    return [
        *((digest, "", UNLIMITED) for digest in by_demand),
        *((digest, "", rates[digest]) for digest in by_rate),
    ]


def _missing(policy: Policy, digest: str, label: str, agents: Sequence[AgentView]) -> int:
    held = sum(
        digest in agent.resident and (not label or label in agent.labels)
        for agent in agents
        if agent.is_accepting
    )
    return max(0, policy.keep_warm[digest] - held)


def _hour(at: float) -> int:
    return int(at // HOUR) % DAY_HOURS


def _faded(known: tuple[float, float] | None, at: float, half_life: float) -> float:
    if known is None:
        return 0.0
    return float(known[0] * 0.5 ** (max(0.0, at - known[1]) / half_life))


def _grown(
    known: tuple[float, float] | None, seconds: float, at: float, half_life: float
) -> tuple[float, float]:
    return _faded(known, at, half_life) + seconds, at
