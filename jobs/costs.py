"""What this fleet's own runs say about the cost of a recipe, in GPU seconds.

The estimate is that of the *slowest* kind of machine that takes work and has room for it: the
scheduler may choose any of them, nobody is told less than the job may take, and the fair shares
are put right by what it took when it has ended.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from gpuagent.protocol.recipe import Recipe
from jobs.estimates import (
    LOADED_PER_STORED_BYTES,
    Cost,
    Learned,
    blend,
    estimate_cost,
    prior_seconds,
    step_keys,
)
from jobs.models import Agent, CostEstimate
from jobs.selectors import accepting_agents
from library.memory import loaded_bytes
from library.models import ModelVersion

STEP, LOAD, LOAD_CACHED = "step", "load", "load_cached"
CLASS_MAX = 80


def class_of(agent: Agent) -> str:
    """The kind of machine whose runs are comparable."""
    return (agent.gpu_class or agent.device or "unknown")[:CLASS_MAX]


def learned_of(kind: str, keys: Collection[str] | None) -> dict[tuple[str, str], Learned]:
    """What was learned, by class and key; of all keys if none are named."""
    rows = CostEstimate.objects.filter(kind=kind)
    if keys is not None:
        rows = rows.filter(key__in=keys)
    return {
        (row.gpu_class, row.key): Learned(
            mean_seconds=row.mean_seconds,
            deviation_seconds=row.deviation_seconds,
            weight=row.weight,
        )
        for row in rows
    }


def cost_of(
    recipe: Recipe, version: ModelVersion, *, picture_pixels: int = 0, adapters_bytes: int = 0
) -> Cost:
    """GPU seconds and memory of a recipe on this fleet as it stands; at night, when a fleet may be
    scaled to nothing, on the machines that are known. `picture_pixels`: of the starting picture.
    """
    agents = list(accepting_agents()) or list(Agent.objects.filter(removed_at=None))
    by_class = seconds_per_pass(recipe, version, agents)
    slowest = max(by_class.values(), default=_unknown(version))
    return estimate_cost(
        recipe,
        weights_bytes=_stored_alike(version, agents) + adapters_bytes,
        seconds_per_pass=slowest,
        picture_pixels=picture_pixels,
    )


def _stored_alike(version: ModelVersion, agents: Sequence[Agent]) -> int:
    """Stored bytes that would load to what these agents have measured; until then, those stored."""
    measured = loaded_bytes(version, {class_of(agent) for agent in agents})
    return math.ceil(measured / LOADED_PER_STORED_BYTES) or version.weights_bytes


def seconds_per_pass(
    recipe: Recipe, version: ModelVersion, agents: Sequence[Agent]
) -> dict[str, float]:
    """By kind of machine, of those that have room for the recipe; of all if none has."""
    weights, alike = version.weights_bytes, _stored_alike(version, agents)
    needed = estimate_cost(recipe, weights_bytes=alike, seconds_per_pass=0.0).memory_bytes
    fitting = [agent for agent in agents if agent.memory_bytes >= needed]
    exact, any_size = step_keys(version.digest, recipe)
    learned = learned_of(STEP, (exact, any_size))
    found = {}
    for name in {class_of(agent) for agent in fitting or agents}:
        prior = prior_seconds(weights_bytes=weights, gpu_class=name)
        roughly = blend(prior, learned.get((name, any_size)))
        found[name] = blend(roughly, learned.get((name, exact)))
    return found


def load_seconds(digests: Collection[str] | None = None, *, kind: str = LOAD) -> dict[str, float]:
    """What loading each of these models (or of all) took lately, on the slowest kind of machine."""
    found: dict[str, float] = {}
    for (_class, digest), learned in learned_of(kind, digests).items():
        found[digest] = max(found.get(digest, 0.0), learned.mean_seconds)
    return found


def _unknown(version: ModelVersion) -> float:
    """No machine was ever known: expect the slowest kind."""
    return prior_seconds(weights_bytes=version.weights_bytes, gpu_class="")
