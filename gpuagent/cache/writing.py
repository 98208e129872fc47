"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

TEMPORARY = ".tmp-"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or not there, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A name beside it that nobody has."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")


def remove_leftovers(folder: Path) -> None:
    """What a killed agent was writing; only one agent uses a cache folder."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
