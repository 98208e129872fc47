"""`launcher run` and `launcher env`: the studio's servers and settings for other commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from launcher.bootstrap import install_python_packages
from launcher.checks import check_disk, prepare_state
from launcher.commands import run_plainly
from launcher.console import Console
from launcher.environment import studio_settings
from launcher.errors import LauncherError
from launcher.instance import hold_state, publish_settings, running_settings
from launcher.layout import Layout, with_venv_first
from launcher.servers import start_servers


def run_command(layout: Layout, console: Console, argv: Sequence[str]) -> int:
    """Run `argv` against the running studio's servers, or start them for as long as it takes."""
    if not argv:
        raise LauncherError("Say what to run: python3 -m launcher run -- python manage.py shell")
    prepare_state(layout.state)
    settings = running_settings(layout)
    if settings is not None:
        return _run(layout, settings, argv)
    with hold_state(layout):
        check_disk(layout.state)
        install_python_packages(layout, console)
        servers = start_servers(
            layout.state,
            durable=True,
            database_url=os.environ.get("DATABASE_URL"),
            redis_url=os.environ.get("REDIS_URL"),
            root=layout.root,
        )
        try:
            settings = studio_settings(layout, servers, os.environ)
            publish_settings(layout, settings)
            return _run(layout, settings, argv)
        finally:
            servers.stop()


def print_environment(layout: Layout) -> int:
    """Print the running studio's settings, passwords included, as KEY=VALUE lines."""
    settings = running_settings(layout)
    if settings is None:
        raise LauncherError(f"No studio runs from {layout.state}. Start it with `make up`.")
    for name, value in settings.items():
        print(f"{name}={value}")
    return 0


def _run(layout: Layout, settings: Mapping[str, str], argv: Sequence[str]) -> int:
    env = {**with_venv_first(os.environ, layout), **settings}
    return run_plainly(_resolved(layout, argv), cwd=layout.root, env=env)


def _resolved(layout: Layout, argv: Sequence[str]) -> list[str]:
    """`python`, and other commands of the virtual environment, mean the ones in there."""
    own = layout.venv / "bin" / argv[0]
    return [str(own) if own.exists() else argv[0], *argv[1:]]
