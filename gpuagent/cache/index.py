"""What the disk cache knows of its files: verified when they had which look, used in which order.

The order is a count, not a time: it survives restarts and wrong clocks. If the index is lost, each
file is read and hashed again at its next use.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gpuagent.cache.writing import write_atomically


@dataclass(slots=True)
class Entry:
    """One file: its bytes, the look it had when its hash was right, its place in the order."""

    size_bytes: int
    modified_ns: int
    used: int


class Index:
    """Entries by SHA-256. Not for several threads at once; the cache's lock is around it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, Entry] = {}
        try:
            for sha256, raw in json.loads(path.read_bytes()).items():
                self.entries[sha256] = Entry(**{name: int(raw[name]) for name in raw})
        except (OSError, ValueError, TypeError, AttributeError):
            self.entries.clear()  # none yet, or unreadable
        self._last = max((entry.used for entry in self.entries.values()), default=0)

    def is_verified(self, sha256: str, file: Path) -> bool:
        """Whether the file looks as it did when its hash was right; a write would show."""
        entry = self.entries.get(sha256)
        look = file.stat()
        return entry is not None and (entry.size_bytes, entry.modified_ns) == (
            look.st_size,
            look.st_mtime_ns,
        )

    def verified(self, sha256: str, file: Path) -> None:
        """The file's hash is right now."""
        look = file.stat()
        self._last += 1
        self.entries[sha256] = Entry(look.st_size, look.st_mtime_ns, self._last)

    def use(self, sha256: str) -> None:
        """It was used: it goes last."""
        if sha256 in self.entries:
            self._last += 1
            self.entries[sha256].used = self._last

    def drop(self, sha256: str) -> None:
        """It is gone."""
        self.entries.pop(sha256, None)

    def save(self) -> None:
        """Keep it for the next start."""
        entries = {sha256: asdict(entry) for sha256, entry in self.entries.items()}
        write_atomically(self._path, json.dumps(entries).encode())
