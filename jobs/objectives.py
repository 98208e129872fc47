"""What the studio promises: how long a job waits, and how long it takes as a whole, by tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jobs.scheduling import Tier


@dataclass(frozen=True, slots=True)
class Objective:
    """Seconds from the request to the start, and to the end."""

    wait_seconds: float
    whole_seconds: float


# Background work has no objective: it takes what is left.
OBJECTIVES: Mapping[Tier, Objective] = MappingProxyType(
    {
        Tier.TURBO: Objective(2.0, 10.0),
        Tier.FAST: Objective(10.0, 25.0),
        Tier.RELAX: Objective(300.0, 360.0),
    }
)
