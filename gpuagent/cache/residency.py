"""Models kept in memory: least recently used out first, within a budget of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from gpuagent.planning.eviction import Kept, choose_evictions

T = TypeVar("T")


@dataclass(slots=True)
class _Resident(Generic[T]):
    value: T
    size_bytes: int
    used: int


class Residency(Generic[T]):
    """Values by digest. The sizes are the caller's, as is the freeing of what was evicted.

    `is_pinned` says of which digests work is waiting: those go last, or not at all.
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        is_pinned: Callable[[str], bool] = lambda _digest: False,
        on_evict: Callable[[str, T], None] = lambda _digest, _value: None,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._is_pinned = is_pinned
        self._on_evict = on_evict
        self._residents: dict[str, _Resident[T]] = {}
        self._uses = count()
        self._lock = threading.Lock()

    def get(self, digest: str) -> T | None:
        """The value, now the most recently used one."""
        with self._lock:
            resident = self._residents.get(digest)
            if resident is None:
                return None
            resident.used = next(self._uses)
            return resident.value

    def peek(self, digest: str) -> T | None:
        """The value, without counting as a use."""
        with self._lock:
            resident = self._residents.get(digest)
            return resident.value if resident is not None else None

    def put(self, digest: str, value: T, size_bytes: int) -> None:
        """Keep a value; others go until the budget holds. It stays, even if alone too large."""
        with self._lock:
            self._residents[digest] = _Resident(value, size_bytes, next(self._uses))
        self.shrink(self.budget_bytes, keep=digest)

    def offer(self, digest: str, value: T, size_bytes: int) -> bool:
        """Keep a value if unpinned ones can make room for it; False if not: nothing went."""
        with self._lock:
            chosen = choose_evictions(
                self._kept(keep=digest), budget_bytes=self.budget_bytes, coming_bytes=size_bytes
            )
        if not chosen.does_fit:
            return False
        self.evict(chosen.keys)
        with self._lock:
            self._residents[digest] = _Resident(value, size_bytes, next(self._uses))
        return True

    def take(self, digest: str) -> T | None:
        """Remove a value that goes elsewhere, or is of no use any more."""
        with self._lock:
            resident = self._residents.pop(digest, None)
            return resident.value if resident is not None else None

    def shrink(
        self, total_bytes: int, *, keep: str | None = None, spare_pinned: bool = False
    ) -> int:
        """Evict until at most `total_bytes` are resident; `keep` stays. How many went."""
        with self._lock:
            kept = self._residents.get(keep) if keep is not None else None
            chosen = choose_evictions(
                self._kept(keep=keep),
                budget_bytes=total_bytes,
                coming_bytes=kept.size_bytes if kept is not None else 0,
                spare_pinned=spare_pinned,
            )
        return self.evict(chosen.keys)

    def evict(self, digests: tuple[str, ...]) -> int:
        """Let these go; how many were there."""
        with self._lock:
            gone = [(d, self._residents.pop(d)) for d in digests if d in self._residents]
        for digest, resident in gone:
            self._on_evict(digest, resident.value)
        return len(gone)

    def others(self, digest: str) -> tuple[Kept, ...]:
        """What else is resident, for the planner."""
        with self._lock:
            return self._kept(keep=digest)

    @property
    def warm(self) -> tuple[str, ...]:
        """Digests that are resident, most recently used last."""
        with self._lock:
            return tuple(sorted(self._residents, key=lambda d: self._residents[d].used))

    @property
    def used_bytes(self) -> int:
        """Bytes of all residents."""
        with self._lock:
            return sum(resident.size_bytes for resident in self._residents.values())

    def items(self) -> tuple[tuple[str, T], ...]:
        """All residents, for reports."""
        with self._lock:
            return tuple((digest, resident.value) for digest, resident in self._residents.items())

    def _kept(self, *, keep: str | None) -> tuple[Kept, ...]:
        return tuple(
            Kept(
                key=digest,
                size_bytes=resident.size_bytes,
                used=resident.used,
                is_pinned=self._is_pinned(digest),
            )
            for digest, resident in self._residents.items()
            if digest != keep
        )
