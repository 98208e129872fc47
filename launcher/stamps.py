"""Stamps: remember what a finished step was made from, and skip it while that is unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def fingerprint(paths: Iterable[Path], *extra: str) -> str:
    """A hash over names and contents of files (folders: all files below) and some words."""
    digest = hashlib.sha256()
    for path in sorted(_files(paths)):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for word in extra:
        digest.update(f"\0{word}".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file that holds the fingerprint of the last finished run of one step."""

    path: Path

    def matches(self, current: str) -> bool:
        try:
            return self.path.read_text(encoding="utf-8") == current
        except OSError:
            return False

    def write(self, current: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(current, encoding="utf-8")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (entry for entry in path.rglob("*") if entry.is_file())
        elif path.exists():
            yield path
