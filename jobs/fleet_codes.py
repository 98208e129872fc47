"""What can happen to an agent, by code, and in words for its history."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class FleetCode(StrEnum):
    """Codes of `FleetEvent`."""

    JOINED = "agent.joined"
    REGISTERED = "agent.registered"
    LEAVING = "agent.leaving"
    STOPPED = "agent.stopped"
    LOST = "agent.lost"
    RETURNED = "agent.returned"
    DRAINING = "agent.draining"
    DRAINED = "agent.drained"
    MAINTENANCE = "agent.maintenance"
    SERVING = "agent.serving"
    SICK = "agent.sick"
    WELL = "agent.well"
    LABELS = "agent.labels_changed"
    REMOVED = "agent.removed"


WORDS: Mapping[FleetCode, str] = MappingProxyType(
    {
        FleetCode.JOINED: "joined with a token",
        FleetCode.REGISTERED: "started",
        FleetCode.LEAVING: "is shutting down and takes nothing more",
        FleetCode.STOPPED: "stopped",
        FleetCode.LOST: "was not heard of any more",
        FleetCode.RETURNED: "was heard of again",
        FleetCode.DRAINING: "is draining: it finishes what it has and gets nothing more",
        FleetCode.DRAINED: "has finished all it had",
        FleetCode.MAINTENANCE: "went into maintenance",
        FleetCode.SERVING: "takes work again",
        FleetCode.SICK: "took itself out",
        FleetCode.WELL: "is well again",
        FleetCode.LABELS: "got other labels",
        FleetCode.REMOVED: "was removed; its token opens nothing any more",
    }
)


def say(code: str) -> str:
    """The event in words; the code itself if a newer release wrote it."""
    known = {each.value: each for each in FleetCode}
    return WORDS[known[code]] if code in known else code
