"""Would it pay to let a picture join a running batch between two steps? Measured, then simulated.

The house model on one thread, by processor time: what a step costs for one to four pictures, what
decoding costs, and what joining adds, since each row of a batch is then at a step of its own: a
timestep for each row, and a sampler for each. With these figures the same requests, at random
times, are given to three ways of making pictures: each alone; together what waits when the device
is free, as the agent does; and joining whenever there is a place.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import mean, median, quantiles

import torch

from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.recipe import Recipe
from house.recipe import MODEL
from launcher.layout import REPOSITORY

PLACES, STEPS, SAMPLER = 4, 20, "dpmpp_2m"
# Of what batches of four can do at best, all the time.
LOADS = (0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds: a step of so many pictures, first of one; decoding one; and of joining, a step."""

    steps: tuple[float, ...]
    decoding: float
    joining: tuple[float, ...]

    @property
    def best(self) -> float:
        """Pictures a second when four go together all the time."""
        return PLACES / (STEPS * self.steps[PLACES - 1] + PLACES * self.decoding)


@dataclass(frozen=True, slots=True)
class Request:
    """When it came, and with what it can be made together."""

    at: float
    kind: int


def requests(rate: float, count: int, *, kinds: int, seed: int) -> list[Request]:
    """As many people send them who know nothing of each other."""
    drawn, now, found = random.Random(seed), 0.0, list[Request]()  # noqa: S311 - no secret
    for _ in range(count):
        now += drawn.expovariate(rate)
        found.append(Request(now, drawn.randrange(kinds)))
    return found


def alone(asked: Sequence[Request], costs: Costs) -> list[float]:
    """Seconds from each request to its picture, one after the other."""
    now, took = 0.0, list[float]()
    for each in asked:
        now = max(now, each.at) + STEPS * costs.steps[0] + costs.decoding
        took.append(now - each.at)
    return took


def gathered(asked: Sequence[Request], costs: Costs) -> list[float]:
    """Together what waits and agrees with the first; decoded one by one."""
    waiting, now, took = list(asked), 0.0, list[float]()
    while waiting:
        now = max(now, waiting[0].at)
        batch = _taken(waiting, now, PLACES)
        now += STEPS * costs.steps[len(batch) - 1]
        for each in batch:
            now += costs.decoding
            took.append(now - each.at)
    return took


def joined(asked: Sequence[Request], costs: Costs) -> list[float]:
    """The same, and between two steps who has waited longest takes a free place if it agrees.

    If it does not, nobody joins: else those who agree could keep it waiting for ever.
    """
    waiting, now, took = list(asked), 0.0, list[float]()
    running: list[tuple[Request, int]] = []
    while waiting or running:
        now = now if running else max(now, waiting[0].at)
        if not running or (waiting and waiting[0].kind == running[0][0].kind):
            come = _taken(waiting, now, PLACES - len(running), in_order=bool(running))
            running += [(each, STEPS) for each in come]
        count = len(running) - 1
        now += costs.steps[count] + costs.joining[count]
        running = [(each, left - 1) for each, left in running]
        for each, left in running:
            if not left:
                now += costs.decoding
                took.append(now - each.at)
        running = [(each, left) for each, left in running if left]
    return took


def _taken(
    waiting: list[Request], now: float, places: int, *, in_order: bool = False
) -> list[Request]:
    """Out of those that wait: who agrees with the first; in order, until somebody does not."""
    found: list[Request] = []
    for each in takewhile(lambda one: one.at <= now, list(waiting)):
        if each.kind == waiting[0].kind:
            if len(found) == places:
                break
            found.append(each)
        elif in_order:
            break
    for each in found:
        waiting.remove(each)
    return found


def compare(costs: Costs, *, count: int, rounds: int, named: str = "") -> dict[str, Figure]:
    """Waits of the three ways, as ratios to what is done today."""
    figures: dict[str, Figure] = {}
    for kinds in (1, 3):
        for share in LOADS:
            lists = [
                requests(share * costs.best, count, kinds=kinds, seed=seed)
                for seed in range(rounds)
            ]
            base = [gathered(each, costs) for each in lists]
            for name, way in (("joined", joined), ("alone", alone)):
                ratios = [
                    (mean(took) / mean(today), _p95(took) / _p95(today))
                    for took, today in zip((way(each, costs) for each in lists), base, strict=True)
                ]
                key = f"{named}{name}_kinds{kinds}_load{share * 100:.0f}"
                figures[f"{key}_mean"] = median(one for one, _ in ratios)
                figures[f"{key}_p95"] = median(one for _, one in ratios)
    return figures


def busiest(costs: Costs, way: Callable[[Sequence[Request], Costs], list[float]]) -> float:
    """Pictures a second when everybody asks at once."""
    count = 40 * PLACES
    return count / max(way([Request(0.0, 0)] * count, costs))


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]


def measure(model: StableDiffusion15, *, side: int, times: int) -> Costs:
    """By processor time, in turns, the medians."""
    embeddings = model.encode_prompts(Recipe(model="", prompt="a red mug", seed=1))
    latents = torch.randn(PLACES, 4, side // 8, side // 8)
    steps, joining = ([list[float]() for _ in range(PLACES)] for _ in range(2))
    decoding = list[float]()
    with torch.inference_mode():
        for number in range(times + 1):
            for count in range(1, PLACES + 1):
                shared = _Steps(model, embeddings, count, samplers=1)
                own = _Steps(model, embeddings, count, samplers=count)
                plain, more = (each.seconds(latents[:count]) for each in (shared, own))
                if number:  # the first pays for first calls
                    steps[count - 1].append(plain)
                    joining[count - 1].append(more - plain)
            began = time.process_time()
            model.decode(latents[:1])
            decoding.append(time.process_time() - began)
    return Costs(
        steps=tuple(median(each) for each in steps),
        decoding=median(decoding[1:]),
        joining=tuple(max(0.0, median(each)) for each in joining),
    )


class _Steps:
    """Some steps of a batch, by one sampler for all rows or by one for each."""

    CALLS = 6

    def __init__(
        self, model: StableDiffusion15, embeddings: Embeddings, count: int, *, samplers: int
    ) -> None:
        self._unet = model._denoiser
        self._text = torch.cat([embeddings.negative] * count + [embeddings.prompt] * count)
        self._samplers = [make_scheduler(SAMPLER, model._scheduler_config) for _ in range(samplers)]
        for sampler in self._samplers:
            sampler.set_timesteps(STEPS)

    def seconds(self, latents: torch.Tensor) -> float:
        """Of one step."""
        began, count = time.process_time(), len(latents)
        for number in range(self.CALLS):
            moments = [sampler.timesteps[number] for sampler in self._samplers]
            told = moments[0] if len(moments) == 1 else torch.stack(moments * 2)
            noise = self._unet(torch.cat([latents] * 2), told, self._text, return_dict=False)[0]
            without, guided = noise.chunk(2)
            noise = without + 5.0 * (guided - without)
            rows = count // len(self._samplers)
            parts = zip(
                self._samplers,
                torch.split(noise, rows),
                torch.split(latents, rows),
                moments,
                strict=True,
            )
            latents = torch.cat([s.step(n, t, x).prev_sample for s, n, x, t in parts])
        return (time.process_time() - began) / self.CALLS


def _as_if_flat(costs: Costs) -> Costs:
    """A device that one picture is far from filling, as large GPUs and small pictures are."""
    one = costs.steps[0]
    steps = tuple(one * (1 + 0.07 * more) for more in range(PLACES))
    return Costs(steps=steps, decoding=one, joining=costs.joining)


def run(*, side: int, times: int, count: int, rounds: int) -> dict[str, Figure]:
    """All figures."""
    before, engine = load(), detect_engine(threads=1)
    torch.set_num_threads(1)
    costs = measure(StableDiffusion15(REPOSITORY / MODEL, engine), side=side, times=times)
    say(", ".join(f"{n} in {s * 1000:.1f} ms" for n, s in enumerate(costs.steps, 1)))
    figures: dict[str, Figure] = {
        f"step_{number}_ms": seconds * 1000 for number, seconds in enumerate(costs.steps, 1)
    }
    return {
        **figures,
        "decode_ms": costs.decoding * 1000,
        "joining_step_4_ms": costs.joining[-1] * 1000,
        "throughput_joined": busiest(costs, joined) / busiest(costs, gathered),
        "throughput_alone": busiest(costs, alone) / busiest(costs, gathered),
        **compare(costs, count=count, rounds=rounds),
        **compare(_as_if_flat(costs), count=count, rounds=rounds, named="flat_"),
        "side": side,
        "load_before": before,
        "load_after": load(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more calls, more requests")
    parser.add_argument("--side", type=int, default=128, help="of the pictures")
    given = parser.parse_args(arguments)
    clean_up_on_signals()
    times, count, rounds = (20, 2_000, 9) if given.full else (1, 200, 3)
    finish(run(side=given.side, times=times, count=count, rounds=rounds))


if __name__ == "__main__":
    main()
