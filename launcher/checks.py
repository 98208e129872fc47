"""What must be true before anything starts; each failure is one sentence."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from launcher.errors import LauncherError

OLDEST_PYTHON, FIRST_UNTRIED_PYTHON = (3, 11), (3, 14)
DISK_NEEDED_BYTES = 500_000_000
INSTALL_NEEDED_BYTES = 3_000_000_000


def check_python(version: tuple[int, int]) -> None:
    """Raise LauncherError unless the studio's packages exist for this Python."""
    if OLDEST_PYTHON <= version < FIRST_UNTRIED_PYTHON:
        return
    raise LauncherError(
        f"The studio needs Python 3.11, 3.12 or 3.13, and this is {version[0]}.{version[1]}. "
        "Install one of them and run it by name, for example: python3.13 -m launcher up"
    )


def prepare_state(state: Path) -> None:
    """Create the state folder if it is missing, and see that it can be written.

    As root a new folder lets other users pass through (not list): the database server runs
    under another user. What lies inside is private file by file.
    """
    try:
        if not state.exists():
            state.parent.mkdir(parents=True, exist_ok=True)
            state.mkdir(mode=0o700)
            state.chmod(0o711 if os.geteuid() == 0 else 0o700)
        probe = state / f".write-test-{os.getpid()}"
        probe.write_text("x", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(state) from error
        raise LauncherError(
            f"The state folder {state} cannot be written ({error.strerror}). "
            "Correct its permissions, or choose another one with STUDIO_STATE."
        ) from error


def check_disk(folder: Path, needed_bytes: int = DISK_NEEDED_BYTES) -> None:
    """Raise LauncherError if the disk of `folder` has less than `needed_bytes` left."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise LauncherError(
            f"The disk of {folder} is nearly full: {free / 1e6:,.0f} MB are free and "
            f"{needed_bytes / 1e6:,.0f} MB are needed. Free some space and try again."
        )


def disk_full(folder: Path) -> LauncherError:
    """The error for a disk that filled up while we were writing to it."""
    return LauncherError(
        f"The disk of {folder} is full. Free some space and try again; what is half done is "
        "finished by the next start."
    )
