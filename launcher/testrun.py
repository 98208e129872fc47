"""`python3 -m launcher test`: every check, against throwaway servers."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.bootstrap import install_python_packages
from launcher.checks import check_disk
from launcher.commands import run_plainly
from launcher.console import Console
from launcher.debian import ensure_chromium, ensure_drawing_libraries, find_chromium
from launcher.environment import studio_settings
from launcher.frontend import build_front_end, find_node
from launcher.layout import Layout, with_venv_first
from launcher.ports import free_port
from launcher.servers import throwaway_servers

PYTEST_FOUND_NOTHING = 5
_FAST = ["-m", "not browser and not slow_process", "-n", "2", "--dist", "loadscope"]


@dataclass(frozen=True, slots=True)
class Check:
    """One command of the test run; `may_be_empty` if it is no fault to have no such tests yet."""

    title: str
    argv: Sequence[str]
    env: Mapping[str, str]
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended."""

    title: str
    result: str
    seconds: float


def run_tests(layout: Layout, console: Console, pytest_arguments: Sequence[str]) -> int:
    """Run every check, or pytest with the given arguments alone; 0 if nothing failed."""
    chromium = _install_everything(layout, console, required=not pytest_arguments)
    with throwaway_servers(layout.root) as (state, servers):
        own = Layout(root=layout.root, state=state, port=free_port())
        settings = studio_settings(own, servers, {})
        env = {**with_venv_first(os.environ, layout), **settings, "STUDIO_TEST": "1"}
        if chromium:
            env["STUDIO_CHROMIUM"] = chromium
        if pytest_arguments:
            return run_plainly(_pytest(own, *pytest_arguments), cwd=own.root, env=env)
        outcomes = [run_check(check, own, console) for check in _checks(own, console, env)]
    return summarize(outcomes, console)


def run_check(check: Check, layout: Layout, console: Console) -> Outcome:
    """Run one check with the terminal to itself."""
    console.heading(check.title)
    started = time.monotonic()
    code = run_plainly(check.argv, cwd=layout.root, env=check.env)
    seconds = time.monotonic() - started
    if code == 0:
        result = "passed"
    elif code == PYTEST_FOUND_NOTHING and check.may_be_empty:
        result = "no tests"
    else:
        result = "failed"
    console.say(f"-- {check.title}: {result} in {seconds:.1f} s")
    return Outcome(check.title, result, seconds)


def summarize(outcomes: Sequence[Outcome], console: Console) -> int:
    """Print the table; 1 if a check failed."""
    console.heading("summary of the checks")
    for outcome in outcomes:
        console.say(f"{outcome.result:<9} {outcome.seconds:7.1f} s  {outcome.title}")
    failed = sum(outcome.result == "failed" for outcome in outcomes)
    passed = sum(outcome.result == "passed" for outcome in outcomes)
    console.say(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _install_everything(layout: Layout, console: Console, *, required: bool) -> str | None:
    check_disk(layout.root)
    console.steps = 3
    with console.step("Python packages, with the tools for tests"):
        install_python_packages(layout, console, dev=True)
    with console.step("Front end"):
        build_front_end(layout, console, dict(os.environ))
    with console.step("Chromium, and libraries to draw with"):
        ensure_drawing_libraries(console)
        return ensure_chromium(console) if required else find_chromium()


def _checks(layout: Layout, console: Console, env: Mapping[str, str]) -> list[Check]:
    tools = layout.venv / "bin"
    checks = [
        Check("ruff check", [str(tools / "ruff"), "check"], env),
        Check("ruff format", [str(tools / "ruff"), "format", "--check"], env),
        Check("lint-imports", [str(tools / "lint-imports")], env),
        Check("mypy", [str(tools / "mypy")], env),
    ]
    if (layout.root / "package.json").exists():
        node = find_node(layout, console)
        npm_env = node.environment(dict(env), layout)
        checks.append(Check("npm run check", [node.npm, "run", "check"], npm_env))
    slow = _pytest(layout, "-m", "slow_process")
    return [
        *checks,
        Check("pytest", _pytest(layout, *_FAST), env),
        Check("pytest in the browser", _pytest(layout, "-m", "browser"), env, may_be_empty=True),
        Check("pytest of the whole product", slow, env),
    ]


def _pytest(layout: Layout, *arguments: str) -> list[str]:
    return [str(layout.python), "-m", "pytest", *arguments]
