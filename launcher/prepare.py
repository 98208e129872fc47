"""Runs `manage.py prepare`: tables, the first organization, the house model, the agent's key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.commands import run_visibly
from launcher.console import Console
from launcher.errors import CommandFailed, LauncherError
from launcher.layout import Layout


@dataclass(frozen=True, slots=True)
class FirstLogin:
    """Who can sign in after a fresh start, and where they begin."""

    email: str
    password: str
    workspace_path: str


def prepare_database(layout: Layout, console: Console, env: Mapping[str, str]) -> FirstLogin:
    """Bring the database up to date; safe to run at every start."""
    log, lines = layout.logs / "prepare.log", list[str]()

    def condense(line: str) -> str | None:
        lines.append(line)
        return None if line.startswith("{") else line.strip() or None

    argv = [str(layout.python), "manage.py", "prepare"]
    try:
        run_visibly(argv, console=console, cwd=layout.root, log=log, env=env, condense=condense)
    except CommandFailed as error:
        raise LauncherError(
            f"Preparing the database failed (exit code {error.code}); the lines above say why, "
            f"and {log} holds all of them."
        ) from error
    return read_login(lines)


def read_login(lines: list[str]) -> FirstLogin:
    """The first login from the last JSON line of the command's output."""
    for line in reversed(lines):
        try:
            said = json.loads(line)
            return FirstLogin(said["email"], said["password"], said["workspace_path"])
        except (ValueError, TypeError, KeyError):
            continue
    raise LauncherError("`manage.py prepare` did not say who can sign in; see its log.")
