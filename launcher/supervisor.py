"""Keeps processes running: prefixed log lines, restarts with back-off, an orderly end."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from launcher.process import die_with_parent, kill_group, output_of, send

FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_AFTER_S = 0.5, 10.0, 10.0
_TICK_S = 0.25
_LONGEST_LINE_BYTES = 65536
_OWN_NAME = "studio"

Emit = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep running; `grace_s` is its time to end after SIGTERM."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    grace_s: float


@dataclass
class Child:
    """A supervised process: the running one, or the moment at which to start the next."""

    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    restarts: int = 0
    pending: bytes = field(default=b"", repr=False)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs children until it is asked to stop; then stops them last to first.

    Each child has its own session, so Ctrl-C reaches only this process, and each is killed by
    the kernel should this process be killed. All work is done in the thread that calls `run`.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        emit: Emit,
        cwd: Path | None = None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.children = [Child(spec) for spec in specs]
        self._emit = emit
        self._cwd = cwd
        self._on_tick = on_tick
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0

    def run(self) -> None:
        """Start all children, look after them until `request_stop`, stop them in order."""
        try:
            while not self._stop_requests:
                self.tick()
        finally:
            self.stop()

    def tick(self) -> None:
        """One round: start what is due, pass on output, notice what ended."""
        for child in self.children:
            if child.process is None and time.monotonic() >= child.start_at:
                self._start(child)
        self._pump(_TICK_S)
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._schedule_restart(child, child.process)
        self._on_tick()

    def request_stop(self) -> None:
        """Ask `run` to end; a second request cuts the children's grace short."""
        self._stop_requests += 1

    def stop_on_signals(self) -> None:
        """From now on Ctrl-C, SIGTERM and a closed terminal ask for an orderly end."""

        def handle(_signal: int, _frame: FrameType | None) -> None:
            self.request_stop()

        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, handle)

    def stop(self) -> None:
        """End all children, last to first, each with its grace."""
        for child in reversed(self.children):
            self._stop_child(child)
        self._selector.close()

    def _start(self, child: Child) -> None:
        spec = child.spec
        try:
            child.process = subprocess.Popen(
                list(spec.argv),
                cwd=self._cwd,
                env=dict(spec.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        except OSError as error:
            self._plan(child, f"{spec.name} could not be started ({error.strerror})")
            return
        child.started_at = time.monotonic()
        output = output_of(child.process)
        os.set_blocking(output.fileno(), False)
        self._selector.register(output, selectors.EVENT_READ, child)

    def _pump(self, timeout_s: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout_s)
            return
        for key, _events in self._selector.select(timeout_s):
            if not self._read(key.data, key.fd):
                # Output is closed though the process may live on: nothing more to wait for.
                self._selector.unregister(key.fileobj)

    def _read(self, child: Child, descriptor: int) -> bool:
        """Pass on the lines that are there now; False at the end of the output."""
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        *lines, child.pending = (child.pending + chunk).split(b"\n")
        if child.pending and (not chunk or len(child.pending) > _LONGEST_LINE_BYTES):
            lines.append(child.pending)
            child.pending = b""
        for line in lines:
            self._emit(child.spec.name, line.decode(errors="replace").rstrip("\r"))
        return bool(chunk)

    def _finish(self, child: Child, process: subprocess.Popen[bytes]) -> int:
        """Take leave of an ended process: its group, its last output, its exit code."""
        child.process = None
        kill_group(process.pid)
        code = process.wait()
        output = output_of(process)
        if output in self._selector.get_map():
            self._selector.unregister(output)
        # All writers are dead, so the pipe ends; a grandchild that left the group could keep
        # it open, hence the question.
        while self._has_more(output) and self._read(child, output.fileno()):
            pass
        output.close()
        return code

    @staticmethod
    def _has_more(output: IO[bytes]) -> bool:
        return bool(select.select([output], [], [], 0)[0])

    def _schedule_restart(self, child: Child, ended: subprocess.Popen[bytes]) -> None:
        healthy = time.monotonic() - child.started_at >= HEALTHY_AFTER_S
        code = self._finish(child, ended)
        if healthy:
            child.pause_s = FIRST_PAUSE_S
        self._plan(child, f"{child.spec.name} ended ({_cause(code)})")

    def _plan(self, child: Child, what: str) -> None:
        self._emit(_OWN_NAME, f"{what}; starting it again in {child.pause_s:g} s")
        child.start_at = time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)
        child.restarts += 1

    def _stop_child(self, child: Child) -> None:
        process = child.process
        if process is None:
            return
        if child.is_running():
            send(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + child.spec.grace_s
        while child.is_running() and time.monotonic() < deadline and self._stop_requests < 2:
            self._pump(0.1)
        outcome = "was killed" if child.is_running() else "has stopped"
        self._finish(child, process)
        self._emit(_OWN_NAME, f"{child.spec.name} {outcome}")


def _cause(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
