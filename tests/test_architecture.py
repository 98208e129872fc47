"""The arrows between the rooms, held by machines."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEB = ("studio", "accounts", "workspaces", "library", "jobs")


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that are loaded after a statement, in a fresh process."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, by its whole name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_import_contracts_hold() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_agent_loads_no_django() -> None:
    loaded = loaded_by("import gpuagent.actors, gpuagent.runner.agent, gpuagent.pipelines.registry")
    assert not loaded & {"django", "channels", "rest_framework", *WEB}


def test_the_launcher_needs_only_the_standard_library() -> None:
    loaded = loaded_by("import launcher.cli")
    allowed = {"launcher", "__main__", "_distutils_hack"}
    foreign = {n for n in loaded - allowed - sys.stdlib_module_names if not n.startswith("_")}
    assert not {name for name in foreign if not name.endswith(("hack", "virtualenv"))}


def test_the_web_side_loads_no_torch() -> None:
    loaded = loaded_by("import studio.asgi, jobs.actors, jobs.dispatcher")
    assert "django" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "numpy", "safetensors"}


@pytest.mark.parametrize("room", WEB)
def test_no_service_imports_an_actor(room: str) -> None:
    """Work is asked for by name, through the outbox."""
    for path in sources(f"{room}/services") if (ROOT / room / "services").exists() else []:
        actors = {"jobs.actors", "gpuagent.actors", "dramatiq"}
        assert not imports_of(path) & actors, path.relative_to(ROOT)


def test_edges_touch_no_managers() -> None:
    """Pages, API and agent calls ask `access`, selectors and services; the named ones may read."""
    known = {
        # The API's list of jobs: a query inside the token's scope.
        "jobs/api/views.py",
        # The agents' own calls run in the system scope and have no actor to ask `access` with.
        "jobs/agent_api.py",
    }
    edges = [*sources("jobs/views", "jobs/api"), ROOT / "jobs" / "agent_api.py"]
    touching = {
        path.relative_to(ROOT).as_posix()
        for path in edges
        if ".objects" in path.read_text(encoding="utf-8")
    }
    assert touching <= known


def test_pure_modules_import_no_django() -> None:
    pure = [
        *sources("gpuagent/protocol", "gpuagent/planning", "jobs/scheduling"),
        *(ROOT / p for p in ("jobs/lifecycle.py", "jobs/messages.py", "jobs/estimates.py")),
        ROOT / "accounts" / "roles.py",
    ]
    for path in pure:
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & {"django", "redis", "channels"}, path.relative_to(ROOT)


def test_no_post_save_receivers() -> None:
    """Services call services; a signal would hide the order of effects."""
    for path in sources(*WEB):
        assert "post_save" not in path.read_text(encoding="utf-8"), path.relative_to(ROOT)
