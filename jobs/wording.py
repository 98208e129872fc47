"""Tiers, times and amounts in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gpuagent.protocol.controls import LABELS
from gpuagent.protocol.recipe import Recipe
from jobs.forecast import Forecast, Ground, TierForecast
from jobs.scheduling import Tier

AT_ONCE_SECONDS = 1.5
NAMES = {tier.value: tier.value.capitalize() for tier in Tier}
# What choosing a tier means, for who hovers or listens.
MEANINGS = {
    Tier.TURBO: "before all others",
    Tier.FAST: "the usual",
    Tier.RELAX: "when nobody else is in a hurry",
}


def tier_name(tier: str) -> str:
    """As it is written on the page."""
    return NAMES.get(tier, tier)


def undrawn_name(recipe: Recipe) -> str:
    """What is done to a picture, where nothing is drawn and nobody wrote a note."""
    if recipe.is_upscale:
        return f"Upscale ×{recipe.scale}"
    if recipe.map_kind is not None:
        return f"{LABELS[recipe.map_kind]} map"
    return "Remove background" if recipe.cutout else ""


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listing(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def amount(seconds: float) -> str:
    """A time with its unit, no finer than it is known."""
    value, unit = _rounded(seconds)
    return f"{value} {unit}"


def about(seconds: float) -> str:
    """When something will be."""
    return "at once" if seconds < AT_ONCE_SECONDS else f"in about {amount(seconds)}"


def span(least: float, most: float) -> str:
    """From the usual to the bad case: `2–5 s`, `40 s–2 min`."""
    if most < AT_ONCE_SECONDS:
        return "at once"
    (first, first_unit), (last, last_unit) = _rounded(max(least, 1.0)), _rounded(most)
    if (first, first_unit) == (last, last_unit):
        return f"{last} {last_unit}"
    if first_unit == last_unit:
        return f"{first}–{last} {last_unit}"
    return f"{first} {first_unit}–{last} {last_unit}"


def _rounded(seconds: float) -> tuple[int, str]:
    if seconds < 10:
        return max(1, round(seconds)), "s"
    if seconds < 57.5:
        return round(seconds / 5) * 5, "s"
    if seconds < 90 * 60:
        return max(1, round(seconds / 60)), "min"
    return max(1, round(seconds / 3600)), "h"


def gpu_seconds(seconds: float) -> str:
    """A price: two figures are all that is known of it."""
    if seconds < 0.1:
        return "under 0.1"
    return f"{seconds:.1f}" if seconds < 10 else f"{round(seconds):,}"


def forecast_words(forecast: Forecast) -> dict[str, object]:
    """What the form says before the button is pressed."""
    return {
        "price": f"≈ {gpu_seconds(forecast.gpu_seconds)} GPU s",
        "tiers": {
            one.tier.value: {
                "wait": _wait(one, forecast.agents),
                "ahead": _ahead(one),
                "ground": _ground(one),
            }
            for one in forecast.tiers
        },
        # The dispatcher answers within a second of the first question.
        "is_complete": all(one.jobs_ahead is not None for one in forecast.tiers),
    }


def _wait(one: TierForecast, agents: int) -> str:
    if agents == 0:
        return "no agent"
    if one.wait_p50_seconds is None or one.wait_p90_seconds is None:
        return "no history yet"
    return span(one.wait_p50_seconds, one.wait_p90_seconds)


def _ahead(one: TierForecast) -> str:
    if one.jobs_ahead is None:
        return ""
    if one.jobs_ahead == 0:
        return "nothing ahead"
    own = f", {one.own_jobs_ahead:,} yours" if one.own_jobs_ahead else ""
    return f"{plural(one.jobs_ahead, 'job')} ahead{own}"


def _ground(one: TierForecast) -> str:
    """What the wait is taken from."""
    if one.wait_p50_seconds is None:
        return ""
    whose = "your organization’s" if one.ground is Ground.ORGANIZATION else "the fleet’s"
    return f"From the queue now and {whose} last {plural(one.runs, 'wait')}"
