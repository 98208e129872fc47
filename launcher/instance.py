"""One launcher per state folder: a lock, and a note of who holds it and with which settings."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import LauncherError
from launcher.layout import Layout
from launcher.private import write_private


class AlreadyRunning(LauncherError):
    """Raised when another launcher holds the state folder."""


@contextmanager
def hold_state(layout: Layout) -> Iterator[None]:
    """Hold the state folder; raises AlreadyRunning if another launcher does."""
    with (layout.state / "launcher.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(_who(file.name, layout)) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": layout.url}))
        file.flush()
        try:
            yield
        finally:
            _settings_file(layout).unlink(missing_ok=True)
            file.truncate(0)


def publish_settings(layout: Layout, settings: Mapping[str, str]) -> None:
    """Let `launcher run` and `launcher env` find the running servers."""
    write_private(_settings_file(layout), json.dumps(dict(settings), indent=1))


def running_settings(layout: Layout) -> dict[str, str] | None:
    """The settings of the launcher that holds the state folder; None if nobody does."""
    try:
        with (layout.state / "launcher.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        pass
    try:
        found: dict[str, str] = json.loads(_settings_file(layout).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LauncherError(
            "The studio is still starting. Wait until `make up` says it is ready, then try again."
        ) from error
    return found


def _settings_file(layout: Layout) -> Path:
    return layout.state / "settings.json"


def _who(lock: str, layout: Layout) -> str:
    try:
        note = json.loads(Path(lock).read_text(encoding="utf-8"))
        holder = f"process {note['pid']}, {note['url']}"
    except (OSError, ValueError, KeyError):
        holder = "another process"
    return (
        f"The studio already runs from {layout.state} ({holder}). Stop it there with Ctrl-C, or "
        "start a second one beside it with STUDIO_STATE=/another/folder STUDIO_PORT=8100 make up."
    )
