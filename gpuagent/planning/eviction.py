"""What goes when room is needed: least recently used first, what is pinned last or never."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Something that takes room. `used` grows with time; pinned is what work is waiting for."""

    key: str
    size_bytes: int
    used: float
    is_pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """What to let go, oldest use first, and whether that makes enough room."""

    keys: tuple[str, ...]
    does_fit: bool


def choose_evictions(
    kept: Iterable[Kept],
    *,
    budget_bytes: int,
    coming_bytes: int = 0,
    spare_pinned: bool = True,
) -> Eviction:
    """The evictions after which what stays and what comes are within the budget.

    Least recently used first, pinned ones after all others and only if not `spare_pinned`; of
    those chosen, none that could have stayed goes. If it cannot fit, everything that may go is
    named.
    """
    everything = sorted(kept, key=lambda k: (k.is_pinned, k.used, k.key))
    over = sum(k.size_bytes for k in everything) + coming_bytes - budget_bytes
    chosen: list[Kept] = []
    for item in everything:
        if over <= 0:
            break
        if item.is_pinned and spare_pinned:
            continue
        chosen.append(item)
        over -= item.size_bytes
    does_fit = over <= 0
    if does_fit:
        for item in reversed(chosen.copy()):
            if over + item.size_bytes <= 0:
                chosen.remove(item)
                over += item.size_bytes
    return Eviction(keys=tuple(item.key for item in chosen), does_fit=does_fit)
