"""How long the queue will take, by tier and kind of GPU. Pure.

Predicted is the wait of a job that joins its tier now, behind everything that waits there. Work is
taken as a fluid that the agents share out as the scheduler would; single jobs and models that
must be loaded are not looked at. That is enough to decide whether machines are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.scheduling import Policy, Tier

TIERS = tuple(Tier)  # the most urgent first
NONE_FITS = ""
_ALMOST_NOTHING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An agent that takes work; `free_in_seconds` until it can begin another job."""

    gpu_class: str
    memory_bytes: int
    free_in_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Jobs of one tier that need the same memory."""

    tier: Tier
    memory_bytes: int
    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLoad:
    """What waits for one kind of GPU; `NONE_FITS` is what no machine can take as things stand."""

    gpu_class: str
    machines: int
    seconds: Mapping[Tier, float]
    waits: Mapping[Tier, float]


def loads(
    machines: Sequence[Machine], demands: Iterable[Demand], policy: Policy
) -> list[ClassLoad]:
    """For each kind of GPU, the GPU-seconds that wait for it and the wait of who comes now.

    A job that several kinds can take is spread over all machines that can. What fits none counts
    as if there were one machine: so a fleet of none shows a wait, too.
    """
    by_class: dict[str, list[Machine]] = {}
    for machine in machines:
        by_class.setdefault(machine.gpu_class, []).append(machine)
    seconds: dict[str, dict[Tier, float]] = {name: {} for name in by_class}
    for demand in demands:
        fitting = [m.gpu_class for m in machines if demand.memory_bytes <= m.memory_bytes]
        for name in fitting or [NONE_FITS]:
            mine = seconds.setdefault(name, {})
            share = demand.seconds / max(1, len(fitting))
            mine[demand.tier] = mine.get(demand.tier, 0.0) + share
    found = []
    for name in sorted(seconds):
        group = by_class.get(name, [])
        free_in = min((machine.free_in_seconds for machine in group), default=0.0)
        drained = drain_seconds(seconds[name], policy, max(1, len(group)))
        waits = {tier: _newcomers_wait(tier, drained, policy) + free_in for tier in TIERS}
        found.append(
            ClassLoad(gpu_class=name, machines=len(group), seconds=seconds[name], waits=waits)
        )
    return found


def _newcomers_wait(tier: Tier, drained: Mapping[Tier, float], policy: Policy) -> float:
    """Behind its own tier; where nothing waits in that, behind all that is more urgent, but no
    longer than until its reserve is due.
    """
    if drained[tier] > 0:
        return drained[tier]
    more_urgent = max((drained[other] for other in TIERS[: TIERS.index(tier)]), default=0.0)
    reserve = policy.tier_reserves.get(tier, 0.0)
    return min(more_urgent, policy.reserve_window_seconds / reserve) if reserve else more_urgent


def drain_seconds(
    backlog: Mapping[Tier, float], policy: Policy, machines: int
) -> dict[Tier, float]:
    """Seconds until what waits in each tier has been begun; nothing waits: none."""
    left = {tier: seconds for tier, seconds in backlog.items() if seconds > _ALMOST_NOTHING}
    done = dict.fromkeys(TIERS, 0.0)
    now = 0.0
    while left:
        parts = _parts(sorted(left, key=TIERS.index), policy)
        served = {tier: part * machines for tier, part in parts.items() if part > 0}
        step = min(left[tier] / speed for tier, speed in served.items())
        now += step
        for tier, speed in served.items():
            left[tier] -= speed * step
            if left[tier] <= _ALMOST_NOTHING:
                done[tier] = now
                del left[tier]
    return done


def _parts(waiting: Sequence[Tier], policy: Policy) -> dict[Tier, float]:
    """Which part of the machines each tier that waits gets: its reserve; the most urgent, the first
    of them, also what is left.
    """
    parts = {tier: policy.tier_reserves.get(tier, 0.0) for tier in waiting}
    parts[waiting[0]] += 1.0 - sum(parts.values())
    return parts
