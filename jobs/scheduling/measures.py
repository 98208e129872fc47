"""What a simulated schedule was worth: waits, gaps, shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.scheduling.policy import Policy
from jobs.scheduling.rows import Tier, WaitingJob
from jobs.scheduling.scenarios import Trace
from jobs.scheduling.simulation import Run


@dataclass(frozen=True, slots=True)
class Measures:
    """Of one policy on one trace, up to the trace's end: who still waits has waited till then."""

    trace: Trace
    runs: Sequence[Run]
    """Also those that were running at the end."""

    def waits(self, tier: Tier, *, without: str = "", with_loading: bool = False) -> list[float]:
        """From the request until an agent begins (and has the model, if that is to count)."""
        began = self._first_starts(with_loading=with_loading)
        return [
            began.get(job.id, self.trace.until) - job.submitted_at
            for job in self.trace.jobs
            if job.tier is tier and job.organization_id != without
        ]

    @property
    def served(self) -> int:
        """Jobs that were finished."""
        return len({run.job.id for run in self.runs if run.is_finished})

    @property
    def swap_share(self) -> float:
        """The part of all GPU time that went into loading models."""
        loading = sum(run.swap_seconds for run in self.runs)
        return loading / (self.trace.until * len(self.trace.agents))

    def longest_gap(self, tier: Tier) -> float:
        """The longest time in which a job of the tier waited all along and none was begun."""
        changes = [(job.submitted_at, 0, 1) for job in self.trace.jobs if job.tier is tier]
        for run in self.runs:
            if run.job.tier is tier:
                changes.append((run.started_at, 1, -1))
                if not run.is_finished and run.ended_at < self.trace.until:
                    changes.append((run.ended_at, 0, 1))  # the rest of it waits again
        waiting, since, longest = 0, 0.0, 0.0
        for at, is_start, change in sorted(changes):
            if waiting == 0:
                since = at
            waiting += change
            if is_start:
                longest, since = max(longest, at - since), at
        return max(longest, self.trace.until - since) if waiting > 0 else longest

    def jain(self) -> float:
        """Jain's index over organizations of GPU-seconds received ÷ a max-min fair share of the
        GPU-seconds that the policy gave to all. 1: everybody has what is fair.
        """
        asked: dict[str, float] = defaultdict(float)
        received: dict[str, float] = defaultdict(float)
        for job in self.trace.jobs:
            asked[job.organization_id] += job.cost_seconds
        for run in self.runs:
            part = run.pictures / run.job.pictures if run.pictures else 0.0
            received[run.job.organization_id] += run.job.cost_seconds * part
        fair = fair_shares(asked, sum(received.values()))
        parts = [received[key] / share for key, share in fair.items() if share > 0]
        return sum(parts) ** 2 / (len(parts) * sum(part**2 for part in parts)) if parts else 1.0

    def _first_starts(self, *, with_loading: bool) -> dict[str, float]:
        began: dict[str, float] = {}
        for run in self.runs:
            at = run.started_at + (run.swap_seconds if with_loading else 0.0)
            began[run.job.id] = min(at, began.get(run.job.id, at))
        return began


def p95(values: Iterable[float]) -> float:
    """0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] if ordered else 0.0


def fair_shares(asked: Mapping[str, float], total: float) -> dict[str, float]:
    """Max-min: nobody gets more than asked; who gets less than asked gets no less than others."""
    shares: dict[str, float] = {}
    left, open_keys = total, sorted(asked, key=lambda key: (asked[key], key))
    for number, key in enumerate(open_keys):
        shares[key] = min(asked[key], left / (len(open_keys) - number))
        left -= shares[key]
    return shares


def gap_bound(policy: Policy, tier: Tier, jobs: Sequence[WaitingJob], agents: int) -> float:
    """The longest gap in seconds that a tier can see while it waits.

    Others are charged at most B = max(W, c/share) + 4c meanwhile (proof: `jobs.scheduling`). All
    agents are busy all the time, at first with what they had, so it takes at most c + B / agents.
    Holds while estimates are right and no agent is lost.
    """
    share = policy.tier_reserves.get(tier, 0.0)
    if not share:
        return float("inf")
    longest = max(job.cost_seconds for job in jobs)
    charge = longest + max([policy.default_swap_seconds, *policy.swap_seconds.values()])
    window = policy.reserve_window_seconds * agents
    others = max(window, charge / share) + len(Tier) * charge
    return charge + others / agents
