"""Runs a long command so that a person sees it is alive, and keeps what it said."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from launcher.console import Console
from launcher.errors import CommandFailed, LauncherError
from launcher.process import die_with_parent, end_process, kill_group, output_of

Condense = Callable[[str], str | None]
_NO_NETWORK = re.compile(
    r"name resolution|name or service not known|getaddrinfo|connection refused|"
    r"network is unreachable|connection timed out|read timed out|ConnectTimeout|"
    r"max retries exceeded|failed to establish a new connection|ENOTFOUND|EAI_AGAIN|"
    r"ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ProxyError|no route to host",
    re.IGNORECASE,
)
_DISK_FULL = re.compile(r"no space left on device|ENOSPC|disk quota exceeded", re.IGNORECASE)


def run_visibly(
    argv: Sequence[str],
    *,
    console: Console,
    cwd: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    condense: Condense = lambda line: line.strip() or None,
) -> None:
    """Run `argv`, show condensed progress and append all output to `log`.

    Raises CommandFailed with the last lines of output, after printing them.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    output = output_of(process)
    try:
        with log.open("ab") as record:
            tail = _follow(output, record, console, condense)
        code = process.wait()
    except BaseException:
        end_process(
            process.pid,
            running=lambda: process.poll() is None,
            gentle=signal.SIGTERM,
            grace_s=5.0,
        )
        kill_group(process.pid)
        raise
    finally:
        output.close()
    if code:
        for line in tail:
            console.say(f"      {line}")
        raise CommandFailed(
            f"`{Path(argv[0]).name} {' '.join(argv[1:4])} ...` ended with exit code {code}; "
            f"all it said is in {log}.",
            code=code,
            output="\n".join(tail),
        )


def _follow(
    stream: IO[bytes], record: IO[bytes], console: Console, condense: Condense
) -> deque[str]:
    """Read `stream` to its end; the last lines are returned."""
    started, shown, tail = time.monotonic(), "starting", deque[str](maxlen=20)
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        pending = b""
        while True:
            if selector.select(timeout=1.0):
                chunk = os.read(stream.fileno(), 65536)
                if not chunk:
                    break
                record.write(chunk)
                *lines, pending = (pending + chunk).split(b"\n")
                for line in (raw.decode(errors="replace").rstrip() for raw in lines):
                    tail.append(line)
                    shown = condense(line) or shown
            console.progress(shown, time.monotonic() - started)
    if pending:
        tail.append(pending.decode(errors="replace"))
    return tail


def run_plainly(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command that has the terminal to itself; return its exit code.

    Ctrl-C is the command's to handle first; if it ends by it, KeyboardInterrupt follows here.
    """
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        code = subprocess.run(argv, cwd=cwd, env=env, check=False).returncode
    except FileNotFoundError as error:
        raise LauncherError(f"There is no command `{argv[0]}`.") from error
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts and code:
        raise KeyboardInterrupt
    return code


def explained(error: CommandFailed, *, tool: str, needs: str) -> LauncherError:
    """Turn a failed installation into a sentence about its usual causes."""
    if _DISK_FULL.search(error.output):
        return LauncherError(
            f"The disk filled up while {tool} was installing. Free some space and run the same "
            "command again; it continues where it stopped."
        )
    if _NO_NETWORK.search(error.output):
        return LauncherError(
            f"{tool} could not reach {needs}. Check the network (or the proxy and index that "
            f"{tool} is configured with) and run the same command again."
        )
    return error
