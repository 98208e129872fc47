"""The scheduler against five others on the same traffic, its speed, and the dispatcher's."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from benchmarks._policies import REFERENCES
from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from benchmarks._studio import product, throwaway_layout
from jobs.scheduling import AgentView, Policy, Queue, Tier, plan
from jobs.scheduling.measures import Measures, gap_bound, p95
from jobs.scheduling.scenarios import (
    AGENT_BYTES,
    FLOODING,
    Trace,
    batches,
    flood,
    large,
    losses,
    standing,
    steady,
)
from jobs.scheduling.simulation import FairScheduler, Simulation
from jobs.scheduling.traces import read_trace
from jobs.scheduling.workloads import make_backlog, time_decisions

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
    """The first one is the headline: 85 % load, six seconds to load a model."""
    minutes = 120.0 if full else 10.0
    found = [
        Scenario(f"{kind.__name__}_{place}", swap_s, partial(kind, minutes=minutes))
        for kind in (steady, standing, flood, batches, losses)
        for place, swap_s in (("disk", DISK_S), ("memory", MEMORY_S))
    ]
    if full:
        thousand = partial(large, jobs=1_000_000, agents=1_000)
        found.append(Scenario("large", DISK_S, thousand, round_s=0.1))
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
    """The keys that every policy has. A wait ends when an agent begins, be it to load the model;
    `turbo_loaded_p95_s` is until the model is there, `others_…` without who floods.
    """
    waits = {tier: p95(measures.waits(tier)) for tier in Tier}
    others = {tier: p95(measures.waits(tier, without=FLOODING)) for tier in Tier}
    return {
        "turbo_wait_p95_s": waits[Tier.TURBO],
        "fast_wait_p95_s": waits[Tier.FAST],
        "relax_wait_p95_s": waits[Tier.RELAX],
        "relax_longest_gap_s": measures.longest_gap(Tier.RELAX),
        "swap_share": measures.swap_share,
        "served": measures.served,
        "jain": measures.jain(),
        "turbo_loaded_p95_s": p95(measures.waits(Tier.TURBO, with_loading=True)),
        "others_turbo_wait_p95_s": others[Tier.TURBO],
        "others_fast_wait_p95_s": others[Tier.FAST],
        "others_relax_wait_p95_s": others[Tier.RELAX],
    }


def compare(scenario: Scenario, trace: Trace) -> dict[str, dict[str, float]]:
    """All six on the very same trace."""
    found = {}
    for name in NAMES:
        began = time.monotonic()
        found[name] = figures_of(simulate(scenario, trace, name))
        say(f"{scenario.name} {name} ({time.monotonic() - began:.1f} s): {_line(found[name])}")
    return found


def _line(figures: Mapping[str, float]) -> str:
    keys = ("turbo_wait_p95_s", "fast_wait_p95_s", "relax_wait_p95_s", "relax_longest_gap_s")
    waits = " ".join(f"{figures[key]:.1f}" for key in keys)
    return f"{waits}, swaps {figures['swap_share']:.3f}, served {figures['served']:.0f}"


def verdict(
    scenario: Scenario, trace: Trace, found: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """How ours does against the others, and against what is proven."""
    ours, strict = found[OURS], found["strict"]
    best = max(found[name]["served"] for name in REFERENCES)
    return {
        "turbo_ratio": ours["turbo_wait_p95_s"] / max(strict["turbo_wait_p95_s"], 0.1),
        "served_ratio": ours["served"] / best,
        "relax_gap_bound_s": gap_bound(scenario.policy, Tier.RELAX, trace.jobs, len(trace.agents)),
        "agents": len(trace.agents),
        "jobs": len(trace.jobs),
    }


def decisions(*, queued: int, agents: int, arrivals: int) -> tuple[float, float]:
    """99th percentile of a decision in milliseconds, by the clock and in processor time."""
    chance = Random(SEED)  # noqa: S311  # repeatable, not secret
    jobs = make_backlog(chance, jobs=queued + 2 * arrivals)
    queue = Queue(waiting=jobs[:queued])
    fleet = [
        AgentView(id=f"agt_{n:04d}", free_slots=1, memory_bytes=AGENT_BYTES) for n in range(agents)
    ]
    plan(queue, fleet, now=0.0)
    found = []
    for number, clock in enumerate((time.perf_counter, time.thread_time)):
        first = queued + number * arrivals
        taken = sorted(
            time_decisions(queue, fleet, arrivals=jobs[first : first + arrivals], clock=clock)
        )
        found.append(taken[int(len(taken) * 0.99)] * 1000)
    say(f"a decision among {queued} jobs, {agents} agents: {found} ms, load {load()}")
    return found[0], found[1]


def run(*, full: bool, recorded: str | None = None) -> dict[str, Figure]:
    """Everything; the first scenario's figures are those of the keys without a prefix."""
    figures: dict[str, Figure] = {"load_before": load()}
    if recorded is not None:
        trace = read_trace(Path(recorded).read_text(encoding="utf-8").splitlines())
        chosen = [Scenario("recorded", DISK_S, lambda _chance: trace)]
    else:
        chosen = scenarios(full=full)
    for number, scenario in enumerate(chosen):
        trace = scenario.make(Random(SEED))  # noqa: S311  # the same
        found = compare(scenario, trace)
        figures[scenario.name] = {name: _rounded(values) for name, values in found.items()} | {
            "verdict": _rounded(verdict(scenario, trace, found))
        }
        if number == 0:
            figures |= {name: _rounded(values) for name, values in found.items()}
    jobs = 100_000
    wall, processor = decisions(queued=jobs, agents=16, arrivals=1_000)
    figures |= {"decision_p99_ms": wall, "decision_p99_cpu_ms": processor}
    if full:
        _, large_fleet = decisions(queued=jobs, agents=1_000, arrivals=1_000)
        figures["decision_p99_cpu_ms_1000_agents"] = large_fleet
    with throwaway_layout() as layout, product(layout):
        from benchmarks import _dispatching  # Django has its settings only now

        figures |= _dispatching.dispatches(queued=jobs, leases=4_096 if full else 1_024)
    return figures | {"load_after": load()}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler", description=__doc__)
    parser.add_argument("--full", action="store_true", help="two hours of traffic; 1,000 agents")
    parser.add_argument("--trace", help="a recorded trace instead of the scenarios")
    arguments = parser.parse_args()
    clean_up_on_signals()
    finish(run(full=arguments.full, recorded=arguments.trace))


if __name__ == "__main__":
    main()
