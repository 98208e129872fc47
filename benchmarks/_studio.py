"""A whole studio of the benchmark's own: servers that keep their data, and the four processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launcher.console import Console
from launcher.environment import studio_settings
from launcher.layout import REPOSITORY, Layout, with_venv_first
from launcher.pghome import forget_outside
from launcher.ports import free_port
from launcher.prepare import FirstLogin, prepare_database
from launcher.process import die_with_parent
from launcher.readiness import ask
from launcher.servers import RunningServers, start_servers
from launcher.supervisor import Supervisor
from launcher.up import studio_processes

READY_TIMEOUT_S = 120.0
_ASK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Studio:
    """A running studio."""

    layout: Layout
    login: FirstLogin
    env: Mapping[str, str]
    supervisor: Supervisor
    servers: RunningServers

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"]

    @property
    def is_complete(self) -> bool:
        """Whether the processes run that were started first: none has been started again."""
        return not any(child.restarts for child in self.supervisor.children)

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time that each process has used so far; nothing where there is no `/proc`."""
        pids = {c.spec.name: c.process.pid for c in self.supervisor.children if c.process}
        return {name: process_cpu_seconds(pid) for name, pid in pids.items()}


def process_cpu_seconds(pid: int) -> float:
    """Processor time of one process and its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare_environment() -> dict[str, str]:
    """Ours without what would lead a process to somebody else's studio."""
    foreign = ("STUDIO_", "DATABASE_URL", "REDIS_URL", "STORAGE_URL", "DJANGO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@contextmanager
def throwaway_layout() -> Iterator[Layout]:
    """A new state folder and a free port; the folder is deleted at the end."""
    state = Path(tempfile.mkdtemp(prefix="studio-bench-"))
    state.chmod(0o711)  # the database's user must pass through it
    try:
        yield Layout(root=REPOSITORY, state=state, port=free_port())
    finally:
        forget_outside(state)
        shutil.rmtree(state, ignore_errors=True)


@contextmanager
def running_studio(
    layout: Layout, *, with_agent: bool = True, settings: Mapping[str, str] | None = None
) -> Iterator[Studio]:
    """Start everything `make up` starts, as durable as there, and wait until it answers."""
    servers = start_servers(layout.state, durable=True, root=layout.root)
    try:
        env = {
            **with_venv_first(bare_environment(), layout),
            **(settings or {}),
            **studio_settings(layout, servers, settings or {}),
        }
        with (layout.logs / "processes.log").open("a", encoding="utf-8") as log:
            login = prepare_database(layout, Console(log), env)

            def emit(name: str, line: str) -> None:
                print(f"{time.time():.3f} {name:<10} {line}", file=log, flush=True)

            supervisor = Supervisor(
                [s for s in studio_processes(layout, env) if with_agent or s.name != "agent"],
                emit=emit,
                cwd=layout.root,
                on_tick=lambda: servers.revive(emit),
            )
            with _running(supervisor):
                _wait_until_up(layout.port, with_agent=with_agent)
                yield Studio(layout, login, env, supervisor, servers)
    finally:
        servers.stop()


@contextmanager
def _running(supervisor: Supervisor) -> Iterator[None]:
    """In a thread of its own: children end with the thread that started them."""
    thread = threading.Thread(target=supervisor.run, name="supervisor")
    thread.start()
    try:
        yield
    finally:
        supervisor.request_stop()
        thread.join()


def _wait_until_up(port: int, *, with_agent: bool) -> None:
    """Ready; without an agent, ready but for the agent."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not (answer := ask(port)).ready:
        if not with_agent and "an agent" in answer.waiting_for:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"The studio still waits for {answer.waiting_for}.")
        time.sleep(_ASK_EVERY_S)


@contextmanager
def product(layout: Layout) -> Iterator[None]:
    """Servers with a prepared database, and their settings for Django in this process."""
    servers = start_servers(layout.state, durable=True, root=layout.root)
    try:
        env = {
            **with_venv_first(bare_environment(), layout),
            **studio_settings(layout, servers, {}),
        }
        with (layout.logs / "processes.log").open("a", encoding="utf-8") as log:
            prepare_database(layout, Console(log), env)
        os.environ.update(env)
        yield
    finally:
        servers.stop()


@contextmanager
def product_with_files(layout: Layout) -> Iterator[Path]:
    """Servers and the web process of `benchmarks._files`, and Django set up in this process too.

    The folder whose files lie open at `/plain/NAME`.
    """
    files = layout.state / "plain"
    files.mkdir(mode=0o700)
    servers = start_servers(layout.state, durable=True, root=layout.root)
    try:
        env = {
            **with_venv_first(bare_environment(), layout),
            **studio_settings(layout, servers, {}),
            "BENCHMARK_FILES": str(files),
        }
        with (layout.logs / "processes.log").open("a", encoding="utf-8") as log:
            prepare_database(layout, Console(log), env)
            os.environ.update(env)
            with _web(layout, env, log):
                yield files
    finally:
        servers.stop()


@contextmanager
def _web(layout: Layout, env: Mapping[str, str], log: IO[str]) -> Iterator[None]:
    (spec,) = (spec for spec in studio_processes(layout, env) if spec.name == "web")
    process = subprocess.Popen(
        [part if part != "studio.serve" else "benchmarks._serve_files" for part in spec.argv],
        cwd=layout.root,
        env=dict(env),
        stdout=log,
        stderr=log,
        preexec_fn=die_with_parent(signal.SIGKILL),
    )
    try:
        _wait_until_up(layout.port, with_agent=False)
        yield
    finally:
        process.terminate()
        process.wait()
