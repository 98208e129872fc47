"""Processes: who they are, whether they live, and how they end with the launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
SUPERVISED = "STUDIO_SUPERVISED"
_PROC = Path("/proc")


def die_with_parent(sig: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends `sig` to the child when its parent thread ends.

    Call `Popen` from a thread that lives as long as the child should. Linux only; elsewhere the
    function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None)  # loaded before the fork, so that the child only calls it
    parent = os.getpid()

    def bind() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def command_line(pid: int) -> list[str]:
    """The arguments of a living process; empty if it is gone, a zombie, or hidden from us."""
    if _PROC.is_dir():
        try:
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return [part.decode(errors="replace") for part in raw.split(b"\0") if part]
    shown = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.split()


def is_ours(pid: int, *, program: str, path: Path) -> bool:
    """Whether `pid` runs `program` with `path` among its arguments: proof that it is ours."""
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == program and str(path) in arguments


def output_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    """The pipe of a process that was started with `stdout=PIPE`."""
    if process.stdout is None:
        raise ValueError("The process was started without a pipe for its output.")
    return process.stdout


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.05) -> bool:
    """Wait for `condition`; False if it did not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True


def send(pid: int, sig: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return


def end_process(
    pid: int, *, running: Callable[[], bool], gentle: signal.Signals, grace_s: float
) -> None:
    """Ask a process to end with `gentle`; after `grace_s` seconds kill it."""
    send(pid, gentle)
    if not wait_until(lambda: not running(), grace_s):
        send(pid, signal.SIGKILL)
        wait_until(lambda: not running(), 5.0)


def kill_group(pgid: int) -> None:
    """Kill whatever is left of a child's own process group."""
    try:
        os.killpg(pgid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_leftovers(state: Path) -> int:
    """Kill processes that a killed launcher of this state folder left behind; return how many.

    Only processes that carry our own mark with this very state folder are touched, and the
    caller holds the lock of the state folder, so no living launcher can own them.
    """
    leftovers = list(_marked_with(f"{SUPERVISED}={state}".encode()))
    for pid in leftovers:
        send(pid, signal.SIGKILL)
    wait_until(lambda: not any(command_line(pid) for pid in leftovers), 5.0)
    return len(leftovers)


def _marked_with(mark: bytes) -> Iterator[int]:
    if not _PROC.is_dir():
        return
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0"):
            yield int(entry.name)
