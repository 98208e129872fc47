"""What the parts of one attempt share, and how long each took."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from gpuagent.pipelines.adapters import Stack
from gpuagent.planning.plan import Plan
from gpuagent.protocol.messages import Assignment, ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.held import Held
from gpuagent.runner.learned import Learned
from gpuagent.runner.telemetry import PeakMemory


@dataclass(slots=True)
class Timings:
    """Seconds spent on each part; parts may overlap, so they need not add up."""

    began: float = field(default_factory=time.monotonic)
    parts: dict[str, float] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    def measure(self, part: str, since: float) -> float:
        now = time.monotonic()
        self.parts[part] = self.parts.get(part, 0.0) + now - since
        return now

    def to_wire(self) -> dict[str, object]:
        total = time.monotonic() - self.began
        seconds = {name: round(s, 4) for name, s in {**self.parts, "total": total}.items()}
        return {**seconds, **self.facts}


@dataclass(slots=True)
class Work:
    """What the parts of one attempt share."""

    held: Held
    assignment: Assignment
    recipe: Recipe
    timings: Timings
    plan: Plan | None = None
    stack: Stack = field(default_factory=Stack)
    beside: tuple[ModelRef, ...] = ()
    sources: dict[str, bytes] = field(default_factory=dict)
    picture_pixels: int = 0
    made: set[int] = field(default_factory=set)
    finishing: list[Future[None]] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str, int, int, str]:
        """What decides how long a step takes."""
        recipe = self.recipe
        return self.assignment.model.digest, recipe.width, recipe.height, recipe.sampler

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the model itself takes memory for it."""
        has_others = self.beside or self.sources or self.stack.parameters
        return self.recipe.is_drawn and not (has_others or self.recipe.is_hires)

    def raise_early(self) -> None:
        """Raise what went wrong in finishing an earlier picture: no need to make the next."""
        for future in self.finishing:
            if future.done():
                future.result()

    def wait(self, *, raising: bool) -> None:
        """Wait until all pictures are finished; an attempt ends after its pictures."""
        for future in self.finishing:
            if raising:
                future.result()
            else:
                future.exception()


def note_memory(
    work: Work, plan: Plan | None, peak: PeakMemory, learned: Learned, *, batch: int = 1
) -> None:
    """What it took, and what the plan had thought that the picture would take."""
    work.timings.facts["peak_memory_bytes"] = peak.read()
    growth, model = peak.growth(), work.assignment.model.digest
    foreseen = plan.growth.bytes_at(plan.factor) if plan is not None else 0
    if plan is None or not foreseen or not growth:
        return
    work.timings.facts |= {
        "planned_growth_bytes": foreseen,
        "growth_bytes": growth,
        "plan_factor": round(plan.factor, 2),
    }
    if work.made:  # else it ended before its worst moment, maybe
        pixels = work.recipe.width * work.recipe.height
        facts = {"pixels": pixels, "batch": batch, "growth_bytes": growth}
        learned.made(model, plan, **facts, is_plain=work.is_plain)
