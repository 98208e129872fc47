"""The supervisor with real, tiny processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import supervisor as module
from launcher.console import Console
from launcher.layout import REPOSITORY
from launcher.process import command_line, kill_leftovers, wait_until
from launcher.supervisor import ChildSpec, Supervisor

Lines = list[tuple[str, str]]

POLITE = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); "
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
WAIT = "print('up', flush=True); time.sleep(60)"


def python(name: str, code: str, *, grace_s: float = 5.0, **env: str) -> ChildSpec:
    argv = [sys.executable, "-S", "-c", code]
    return ChildSpec(name, argv, {**os.environ, **env}, grace_s)


def run_until(specs: list[ChildSpec], done: Callable[[Supervisor, Lines], bool]) -> Lines:
    """Supervise until `done`, then stop; what was said by then and while stopping is returned."""
    lines: Lines = []
    deadline = time.monotonic() + 15.0

    def tick() -> None:
        if done(supervisor, lines) or time.monotonic() > deadline:
            supervisor.request_stop()

    supervisor = Supervisor(specs, emit=lambda *line: lines.append(line), on_tick=tick)
    supervisor.run()
    assert time.monotonic() < deadline, lines
    return lines


def all_up(supervisor: Supervisor, lines: Lines) -> bool:
    return sum(text == "up" for _name, text in lines) >= len(supervisor.children)


def test_output_is_passed_on_line_by_line_under_the_childs_name() -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); sys.stdout.write('three')"
    lines = run_until(
        [python("web", f"{code}; sys.stdout.flush(); import time; time.sleep(60)")],
        lambda supervisor, _lines: supervisor.children[0].pending == b"three",
    )

    # The last line has no end: it is passed on when the child is gone.
    assert sorted(text for name, text in lines if name == "web") == ["one", "three", "two"]


def test_a_child_that_dies_is_started_again_after_a_growing_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.05)
    lines = run_until(
        [python("worker", "print('up'); raise SystemExit(3)")],
        lambda _supervisor, lines: sum(name == "studio" for name, _text in lines) == 3,
    )

    assert [text for name, text in lines if name == "studio"][:3] == [
        "worker ended (exit code 3); starting it again in 0.5 s",
        "worker ended (exit code 3); starting it again in 1 s",
        "worker ended (exit code 3); starting it again in 2 s",
    ]
    assert lines.count(("worker", "up")) == 3


def test_a_child_that_was_healthy_starts_again_after_the_first_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEALTHY_AFTER_S", 0.0)
    lines = run_until(
        [python("agent", "import os; os.abort()")],
        lambda supervisor, _lines: supervisor.children[0].restarts == 2,
    )

    again = "agent ended (signal SIGABRT); starting it again in 0.5 s"
    assert [text for name, text in lines if name == "studio"][:2] == [again, again]


def test_a_program_that_does_not_exist_is_reported_and_tried_again() -> None:
    lines = run_until(
        [ChildSpec("agent", ["/no/such/program"], {}, 1.0)],
        lambda supervisor, _lines: supervisor.children[0].restarts == 1,
    )

    assert lines[0] == (
        "studio",
        "agent could not be started (No such file or directory); starting it again in 0.5 s",
    )


def test_children_stop_last_to_first() -> None:
    specs = [python(name, POLITE + WAIT) for name in ("web", "dispatcher", "worker", "agent")]

    lines = run_until(specs, all_up)

    assert lines[-4:] == [
        ("studio", "agent has stopped"),
        ("studio", "worker has stopped"),
        ("studio", "dispatcher has stopped"),
        ("studio", "web has stopped"),
    ]


def test_a_child_that_ignores_the_request_is_killed_after_its_grace() -> None:
    started = time.monotonic()

    lines = run_until([python("agent", STUBBORN + WAIT, grace_s=0.5)], all_up)

    assert lines[-1] == ("studio", "agent was killed")
    assert time.monotonic() - started < 4.0


def test_a_second_request_cuts_the_grace_short() -> None:
    lines: Lines = []

    def tick() -> None:
        if all_up(supervisor, lines) and not timer.is_alive():
            timer.start()
            supervisor.request_stop()

    def emit(name: str, text: str) -> None:
        lines.append((name, text))

    supervisor = Supervisor(
        [python("agent", STUBBORN + WAIT, grace_s=30.0)], emit=emit, on_tick=tick
    )
    timer = threading.Timer(0.3, supervisor.request_stop)
    started = time.monotonic()
    supervisor.run()

    assert lines[-1] == ("studio", "agent was killed")
    assert time.monotonic() - started < 5.0


def test_what_a_child_started_ends_with_it() -> None:
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True)"
    )
    lines = run_until(
        [python("worker", code)],
        lambda supervisor, _lines: supervisor.children[0].restarts == 1,
    )

    grandchild = int(lines[0][1])
    assert wait_until(lambda: not command_line(grandchild), 3.0)


def test_children_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    code = (
        "import sys; from launcher.supervisor import ChildSpec, Supervisor; "
        "spec = ChildSpec('web', [sys.executable, '-S', '-c', "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(60)'], {}, 1.0); "
        "Supervisor([spec], emit=lambda n, t: print(t, flush=True)).run()"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    child = int(launcher.stdout.readline())
    assert command_line(child)

    launcher.kill()
    launcher.wait()
    launcher.stdout.close()

    assert wait_until(lambda: not command_line(child), 3.0)


def test_leftovers_are_found_by_their_mark_alone(tmp_path: Path) -> None:
    def sleeper(mark: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
        return subprocess.Popen(argv, env={"STUDIO_SUPERVISED": mark})

    ours, other = sleeper(str(tmp_path)), sleeper(str(tmp_path / "other"))
    try:
        assert wait_until(lambda: "-c" in command_line(ours.pid), 3.0)
        assert kill_leftovers(tmp_path) == 1
        assert ours.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_log_lines_are_prefixed(capsys: pytest.CaptureFixture[str]) -> None:
    Console().line("web", "hello")

    assert capsys.readouterr().out == "web        | hello\n"
