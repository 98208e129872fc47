"""Models kept in memory: least recently used out first, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Resident(Generic[T]):
    value: T
    size_bytes: int


class Residency(Generic[T]):
    """Values by digest. The sizes are the caller's; `on_evict` frees what the values held."""

    def __init__(self, budget_bytes: int, *, on_evict: Callable[[], None] | None = None) -> None:
        self.budget_bytes = budget_bytes
        self._on_evict = on_evict
        self._residents: OrderedDict[str, _Resident[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> T | None:
        """The value, now the most recently used one."""
        with self._lock:
            resident = self._residents.get(digest)
            if resident is None:
                return None
            self._residents.move_to_end(digest)
            return resident.value

    def put(self, digest: str, value: T, size_bytes: int) -> None:
        """Keep a value; others go, oldest use first, until the budget holds."""
        with self._lock:
            self._residents.pop(digest, None)
            self._residents[digest] = _Resident(value, size_bytes)
        self.shrink(self.budget_bytes, keep=digest)

    def shrink(self, total_bytes: int, *, keep: str | None = None) -> int:
        """Evict until at most `total_bytes` are resident; `keep` stays. How many went."""
        evicted: list[_Resident[T]] = []
        with self._lock:
            for digest in [d for d in self._residents if d != keep]:
                if self._sum() <= total_bytes:
                    break
                evicted.append(self._residents.pop(digest))
        count = len(evicted)
        del evicted
        if count and self._on_evict is not None:
            self._on_evict()
        return count

    @property
    def warm(self) -> tuple[str, ...]:
        """Digests that are resident, most recently used last."""
        with self._lock:
            return tuple(self._residents)

    @property
    def used_bytes(self) -> int:
        """Bytes of all residents."""
        with self._lock:
            return self._sum()

    def _sum(self) -> int:
        return sum(resident.size_bytes for resident in self._residents.values())
