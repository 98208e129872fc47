"""What ended runs tell of the fleet: waits against the objectives, and where models were found.

In the system scope.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.db.models import Aggregate, Count, F, FloatField, Q
from django.db.models.functions import Coalesce

from jobs.lifecycle import AttemptStatus
from jobs.models import RunRecord
from jobs.objectives import OBJECTIVES
from jobs.scheduling import Tier

_TIERS = {tier.value for tier in Tier}


class Percentile(Aggregate):
    """PostgreSQL's `percentile_cont`."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"

    def __init__(self, name: str, fraction: float, *, filter: Q) -> None:
        super().__init__(name, fraction=fraction, filter=filter, output_field=FloatField())


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStats:
    """Seconds of waiting and as a whole, of the jobs of one tier that ended within a time.

    `kept` is the part of them that waited no longer than the objective; None without one.
    """

    runs: int
    wait_p50: float | None
    wait_p95: float | None
    whole_p50: float | None
    whole_p95: float | None
    kept: float | None


def wait_stats(*, since: datetime) -> dict[Tier, WaitStats]:
    """By tier; a tier without a run is left out."""
    waited = Q(wait_seconds__isnull=False)
    made = waited & Q(status=AttemptStatus.SUCCEEDED.value)
    rows = (
        RunRecord.objects.filter(ended_at__gt=since, tier__in=_TIERS)
        .annotate(whole=Coalesce(F("wait_seconds"), 0.0) + F("run_seconds"))
        .values("tier")
        .annotate(
            runs=Count("pk", filter=waited),
            wait_p50=Percentile("wait_seconds", 0.5, filter=waited),
            wait_p95=Percentile("wait_seconds", 0.95, filter=waited),
            whole_p50=Percentile("whole", 0.5, filter=made),
            whole_p95=Percentile("whole", 0.95, filter=made),
            **{
                f"kept_{tier}": Count("pk", filter=Q(wait_seconds__lte=objective.wait_seconds))
                for tier, objective in OBJECTIVES.items()
            },
        )
        .order_by()
    )
    found = {}
    for row in cast("Iterable[dict[str, Any]]", rows):
        tier, runs = Tier(row["tier"]), row["runs"]
        kept = row[f"kept_{tier}"] / runs if tier in OBJECTIVES and runs else None
        found[tier] = WaitStats(
            runs=runs,
            wait_p50=row["wait_p50"],
            wait_p95=row["wait_p95"],
            whole_p50=row["whole_p50"],
            whole_p95=row["whole_p95"],
            kept=kept,
        )
    return found


def hit_rates(*, since: datetime) -> dict[str, dict[str, float]]:
    """By agent: the part of its runs that found the model at each place."""
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    rows = RunRecord.objects.filter(ended_at__gt=since, agent__isnull=False).exclude(load_source="")
    for agent_id, source, runs in rows.values_list("agent_id", "load_source").annotate(
        runs=Count("pk")
    ):
        counts[str(agent_id)][source] = runs
    return {
        agent_id: {source: runs / sum(found.values()) for source, runs in found.items()}
        for agent_id, found in counts.items()
    }
