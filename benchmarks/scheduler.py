"""The scheduler against five others on the same traffic, its speed, and the dispatcher's."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from benchmarks._policies import REFERENCES
from benchmarks._report import clean_up_on_signals, say
from jobs.scheduling import Policy, Tier
from jobs.scheduling.measures import Measures, gap_bound, p95
from jobs.scheduling.scenarios import (
    Trace,
    batches,
    flood,
    large,
    losses,
    standing,
    steady,
)
from jobs.scheduling.simulation import FairScheduler, Simulation

SEED = 20_261_121
DISK_S, MEMORY_S = 6.0, 0.3
OURS = "ours"
NAMES = (*REFERENCES, OURS)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of traffic, with one time to load a model."""

    name: str
    swap_s: float
    make: Callable[[Random], Trace]
    round_s: float = 0.0

    @property
    def policy(self) -> Policy:
        return Policy(
            default_swap_seconds=self.swap_s, cached_swap_seconds=min(self.swap_s, MEMORY_S)
        )


def scenarios(*, full: bool) -> list[Scenario]:
    """The first one's figures are the headline."""
    minutes = 120.0 if full else 20.0
    found = []
    for kind in (steady, standing, flood, batches, losses):
        for swap_s in (DISK_S, MEMORY_S):
            found.append(
                Scenario(
                    f"{kind.__name__}_{'disk' if swap_s == DISK_S else 'memory'}",
                    swap_s,
                    lambda chance, kind=kind: kind(chance, minutes=minutes),  # type: ignore[misc]  # bound now
                )
            )
    if full:
        found.append(
            Scenario(
                "large", DISK_S, lambda c: large(c, jobs=1_000_000, agents=1_000), round_s=0.05
            )
        )
    return found


def simulate(scenario: Scenario, trace: Trace, name: str) -> Measures:
    """One policy on the trace."""
    scheduler = FairScheduler if name == OURS else REFERENCES[name]
    simulation = Simulation(
        trace.jobs,
        trace.agents,
        scheduler=scheduler(scenario.policy),
        actual_seconds=trace.actual_seconds,
        round_seconds=scenario.round_s,
    )
    simulation.run(until=trace.until)
    simulation.now = trace.until
    return Measures(trace, [*simulation.runs, *simulation.unfinished()])


def figures_of(measures: Measures) -> dict[str, float]:
    """The keys that every policy has; waits end when an agent begins, loading the model included."""
    waits = {tier: measures.waits(tier) for tier in Tier}
    others = [w for tier in Tier for w in measures.waits(tier, without="org_flood")]
    loaded = measures.waits(Tier.TURBO, with_loading=True)
    return {
        "turbo_wait_p95_s": p95(waits[Tier.TURBO]),
        "fast_wait_p95_s": p95(waits[Tier.FAST]),
        "relax_wait_p95_s": p95(waits[Tier.RELAX]),
        "relax_longest_gap_s": measures.longest_gap(Tier.RELAX),
        "swap_share": measures.swap_share,
        "served": measures.served,
        "jain": measures.jain(),
        "turbo_loaded_p95_s": p95(loaded),
        "others_wait_p95_s": p95(others),
    }


def compare(scenario: Scenario) -> dict[str, dict[str, float]]:
    """All six on the very same trace."""
    trace = scenario.make(Random(SEED))  # noqa: S311  # traffic is to be repeatable, not secret
    found = {}
    for name in NAMES:
        began = time.monotonic()
        found[name] = figures_of(simulate(scenario, trace, name))
        say(
            f"{scenario.name:<16} {name:<15} {time.monotonic() - began:5.1f} s  {_line(found[name])}"
        )
    longest = max(job.cost_seconds for job in trace.jobs)
    found[OURS]["relax_gap_bound_s"] = gap_bound(
        scenario.policy, Tier.RELAX, trace.jobs, len(trace.agents)
    )
    found[OURS]["longest_job_s"] = longest
    found[OURS]["agents"] = len(trace.agents)
    found[OURS]["jobs"] = len(trace.jobs)
    return found


def _line(figures: Mapping[str, float]) -> str:
    keys = ("turbo_wait_p95_s", "fast_wait_p95_s", "relax_wait_p95_s", "relax_longest_gap_s")
    waits = "  ".join(f"{figures[key]:8.1f}" for key in keys)
    return f"{waits}  swaps {figures['swap_share']:.3f}  served {figures['served']:6.0f}  jain {figures['jain']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    clean_up_on_signals()
    for scenario in scenarios(full=arguments.full):
        compare(scenario)


if __name__ == "__main__":
    main()
