"""What pressing the button would mean: GPU seconds, and for each tier the place and the wait.

The wait has two sources. *Now*: what the dispatcher says is ahead, shared by the agents that take
work. *History*: how long jobs of the tier waited in the last 24 hours, of one's own organization
if it had enough of them, else of the whole fleet (numbers only, nobody is named). Now counts twice,
history once: the queue of this moment says more than yesterday, but not what will come. Without
history no time is given, since a guess with no ground would look like a promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.costs import cost_of, load_seconds
from jobs.explanations import Ahead, ahead_of, member_name, watch
from jobs.models import RunRecord
from jobs.scheduling import Policy, Tier
from jobs.selectors import count_agents, warm_digests
from jobs.services.enlarging import with_size
from jobs.services.inputs import find_inputs
from jobs.services.submission import find_model, with_defaults
from jobs.services.tuning import with_tile
from studio.core.errors import InvalidInputError
from studio.core.scoping import system_scope
from workspaces.access import require_in
from workspaces.models import Workspace

TIERS = (Tier.TURBO, Tier.FAST, Tier.RELAX)
HISTORY_FOR = timedelta(hours=24)
RUNS_MOST = 200
# Fewer runs of one's own say less than those of all; fewer of all say nothing.
OWN_RUNS_LEAST = 20
RUNS_LEAST = 5
NOW_WEIGHT, HISTORY_WEIGHT = 2.0, 1.0
# What is ahead now may take longer than estimated, and more urgent jobs may come.
NOW_P90 = 1.5


class Ground(StrEnum):
    """What a wait is taken from."""

    ORGANIZATION = "organization"
    FLEET = "fleet"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long jobs of a tier waited lately, in seconds."""

    p50: float
    p90: float
    runs: int
    ground: Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class TierForecast:
    """`jobs_ahead` None: the dispatcher has not said yet. Waits None: there is no history."""

    tier: Tier
    jobs_ahead: int | None
    own_jobs_ahead: int | None
    wait_p50_seconds: float | None
    wait_p90_seconds: float | None
    ground: Ground
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one recipe, for one person."""

    gpu_seconds: float
    agents: int
    is_warm: bool
    load_seconds: float
    tiers: tuple[TierForecast, ...]


def make_forecast(*, actor: Actor, workspace: Workspace, raw: Mapping[str, object]) -> Forecast:
    """What the request would cost and when it would begin. Prompts are not looked at.

    Raises:
        InvalidInputError: something about the recipe is wrong.
    """
    require_in(actor, workspace, Permission.JOB_SUBMIT)
    organization_id = actor.organization_id
    watch(member_name(organization_id, actor.user_id))
    recipe = _recipe_of(raw)
    version = find_model(recipe.model)
    recipe = with_tile(recipe, raw, version)
    if not recipe.is_drawn:
        recipe = with_size(recipe, find_inputs(workspace, recipe))
    agents, _warm = count_agents()
    is_warm = version.digest in warm_digests()
    loading = 0.0
    if not is_warm:
        learned = load_seconds({version.digest})
        loading = learned.get(version.digest, Policy().default_swap_seconds)
    said = ahead_of(organization_id, actor.user_id)
    tiers = [
        tier_forecast(
            tier,
            said.get(tier.value),
            waits_of(tier, organization_id),
            loading=loading,
            has_agents=agents > 0,
        )
        for tier in TIERS
    ]
    return Forecast(
        gpu_seconds=cost_of(recipe, version).seconds,
        agents=agents,
        is_warm=is_warm,
        load_seconds=loading,
        tiers=tuple(tiers),
    )


def tier_forecast(
    tier: Tier, ahead: Ahead | None, waits: Waits | None, *, loading: float, has_agents: bool
) -> TierForecast:
    """The queue of this moment and the history of the tier, put together. Pure."""
    p50, p90 = None, None
    if waits is not None and has_agents:
        p50, p90 = _blend(ahead, waits, loading)
    return TierForecast(
        tier=tier,
        jobs_ahead=ahead.jobs_ahead if ahead else None,
        own_jobs_ahead=ahead.own_jobs_ahead if ahead else None,
        wait_p50_seconds=p50,
        wait_p90_seconds=p90,
        ground=waits.ground if waits else Ground.NONE,
        runs=waits.runs if waits else 0,
    )


def _blend(ahead: Ahead | None, waits: Waits, loading: float) -> tuple[float, float]:
    if ahead is None or ahead.wait_seconds is None:
        return round(waits.p50, 1), round(max(waits.p50, waits.p90), 1)
    now, total = ahead.wait_seconds + loading, NOW_WEIGHT + HISTORY_WEIGHT
    # Where an agent is idle, what others waited for at busier times is not to be expected.
    p50 = now if ahead.is_free else (NOW_WEIGHT * now + HISTORY_WEIGHT * waits.p50) / total
    p90 = (NOW_WEIGHT * NOW_P90 * now + HISTORY_WEIGHT * waits.p90) / total
    return round(p50, 1), round(max(p50, p90), 1)


def waits_of(tier: Tier, organization_id: str) -> Waits | None:
    """The organization's own recent waits, or the fleet's; None if there are too few."""
    own = _recent(tier, organization_id)
    if len(own) >= OWN_RUNS_LEAST:
        return _summary(own, Ground.ORGANIZATION)
    with system_scope():
        everybodys = _recent(tier, None)
    return _summary(everybodys, Ground.FLEET) if len(everybodys) >= RUNS_LEAST else None


def _recent(tier: Tier, organization_id: str | None) -> list[float]:
    runs = RunRecord.objects.filter(
        tier=tier.value, wait_seconds__isnull=False, ended_at__gt=timezone.now() - HISTORY_FOR
    )
    if organization_id is not None:
        runs = runs.filter(organization_id=organization_id)
    values = runs.order_by("-ended_at").values_list("wait_seconds", flat=True)[:RUNS_MOST]
    return sorted(value for value in values if value is not None)


def _summary(waits: Sequence[float], ground: Ground) -> Waits:
    return Waits(
        p50=_quantile(waits, 0.5), p90=_quantile(waits, 0.9), runs=len(waits), ground=ground
    )


def _quantile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _recipe_of(raw: Mapping[str, object]) -> Recipe:
    """Prompts cost nothing, and one that is still being written is no mistake."""
    values = {k: v for k, v in raw.items() if k not in ("prompt", "negative_prompt")}
    try:
        return parse_recipe(with_defaults({**values, "prompt": "-", "seed": 0}))
    except RecipeInvalidError as error:
        raise InvalidInputError(error.problems) from error
