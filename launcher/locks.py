"""`python3 -m launcher lock`: writes requirements/*.lock from requirements/*.in."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from launcher.bootstrap import exclusive_install, pip_install
from launcher.console import Console
from launcher.errors import LauncherError
from launcher.layout import Layout

LAYERS = ("web", "agent", "embedded", "node", "dev")
# Taken for their files, so nothing is resolved for them.
WEIGHTS = "weights"
_HEADER = "# Written by `python3 -m launcher lock` from {name}.in. Edit that file, not this one.\n"
# Places of packages and of files belong to the machine, not to the repository.
_COMPILE = (
    *("--quiet", "--no-config", "--no-header", "--no-annotate", "--strip-extras"),
    *("--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"),
    *("--no-emit-options", "--unsafe-package=pip"),
)


def write_locks(layout: Layout, console: Console, *, upgrade: bool = False) -> None:
    """Pin every layer, transitive packages included, to one consistent set of versions.

    All layers are resolved together first; each lock is then the part of that one answer that
    its layer needs. Versions already locked are kept unless `upgrade` is set.
    """
    _ensure_pip_tools(layout, console)
    with exclusive_install(layout), tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "together.txt"
        if not upgrade:
            together.write_text(_current_pins(layout), encoding="utf-8")
        sources = [layout.requirements / f"{name}.in" for name in LAYERS]
        with console.step("resolving all layers together"):
            _compile(layout, sources, together, [])
        for name, source in zip(LAYERS, sources, strict=True):
            with console.step(f"requirements/{name}.lock"):
                part = Path(folder) / f"{name}.txt"
                _compile(layout, [source], part, ["--constraint", str(together)])
                lock = _HEADER.format(name=name) + portable(part.read_text(encoding="utf-8"))
                (layout.requirements / f"{name}.lock").write_text(lock, encoding="utf-8")
        _write_weights(layout)


def _write_weights(layout: Layout) -> None:
    """Exact already, and installed without what they depend on."""
    pins = portable((layout.requirements / f"{WEIGHTS}.in").read_text(encoding="utf-8"))
    lock = layout.requirements / f"{WEIGHTS}.lock"
    lock.write_text(_HEADER.format(name=WEIGHTS) + pins, encoding="utf-8")


def portable(text: str) -> str:
    """The pins without what only this machine has: local build tags such as `+cpu`."""
    pins = [line.strip() for line in text.splitlines()]
    pins = [line for line in pins if line and not line.startswith(("#", "-"))]
    return "".join(f"{_without_local_tag(line)}\n" for line in pins)


def _without_local_tag(pin: str) -> str:
    requirement, *marker = pin.split(" ", 1)
    return " ".join([requirement.split("+", 1)[0], *marker])


def _current_pins(layout: Layout) -> str:
    locks = [layout.requirements / f"{name}.lock" for name in LAYERS]
    lines = {line for lock in locks if lock.exists() for line in lock.read_text().splitlines()}
    return "\n".join(sorted(line for line in lines if not line.startswith("#"))) + "\n"


def _compile(layout: Layout, sources: list[Path], target: Path, extra: list[str]) -> None:
    argv = [str(layout.python), "-m", "piptools", "compile", *_COMPILE, *extra]
    argv += ["--output-file", str(target), *map(str, sources)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LauncherError(
            f"pip-tools could not resolve {', '.join(source.name for source in sources)}:\n"
            f"{done.stderr.strip()}"
        )


def _ensure_pip_tools(layout: Layout, console: Console) -> None:
    if not layout.python.exists():
        raise LauncherError("There is no .venv yet. Run `make test` once, then lock again.")
    probe = [str(layout.python), "-c", "import piptools"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pip_install(layout, console, ["pip-tools"])
