"""`python3 -m launcher up`: everything, in order, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from launcher.agents import agent_processes, devices
from launcher.bootstrap import install_python_packages
from launcher.checks import check_disk, prepare_state
from launcher.console import Console
from launcher.environment import studio_settings
from launcher.frontend import build_front_end
from launcher.instance import hold_state, publish_settings
from launcher.layout import Layout, with_venv_first
from launcher.ports import HOST, require_free
from launcher.prepare import FirstLogin, prepare_database
from launcher.process import SUPERVISED, kill_leftovers
from launcher.readiness import ask
from launcher.servers import RunningServers, start_servers
from launcher.supervisor import ChildSpec, Supervisor

_ASK_EVERY_S, _REPEAT_EVERY_S = 0.5, 15.0


def up(layout: Layout, console: Console) -> int:
    """Install, build, start and supervise; returns 0 after an orderly end."""
    devices(os.environ)  # a wrong name is said before anything is started
    prepare_state(layout.state)
    with hold_state(layout):
        check_disk(layout.state)
        check_disk(layout.root)
        kill_leftovers(layout.state)
        require_free(layout.port)
        console.steps = 5
        with console.step("Python packages"):
            install_python_packages(layout, console)
        with console.step("Front end"):
            build_front_end(layout, console, dict(os.environ))
        with console.step("PostgreSQL and Valkey"):
            servers = start_servers(
                layout.state,
                durable=True,
                database_url=os.environ.get("DATABASE_URL"),
                redis_url=os.environ.get("REDIS_URL"),
                root=layout.root,
            )
        try:
            _run(layout, console, servers)
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(sig, signal.SIG_IGN)  # the databases' own end is short and bounded
            servers.stop()
            console.say("The studio has stopped.")
    return 0


def studio_processes(layout: Layout, env: Mapping[str, str]) -> list[ChildSpec]:
    """The processes of the product in the order of their start; they stop in reverse."""
    python = str(layout.python)
    listen = ["--host", HOST, "--port", str(layout.port)]
    return [
        ChildSpec("web", [python, "-m", "studio.serve", *listen], env, 8.0),
        ChildSpec("dispatcher", [python, "manage.py", "dispatch"], env, 8.0),
        ChildSpec("worker", [python, "manage.py", "work"], env, 8.0),
        *agent_processes(python, env),
    ]


class ReadyWatch:
    """Asks until the studio is ready, says what it waits for, and says once that it is."""

    def __init__(self, layout: Layout, console: Console, login: FirstLogin) -> None:
        self._layout = layout
        self._console = console
        self._login = login
        self._started = time.monotonic()
        self._ask_at = self._repeat_at = 0.0
        self._waiting_for = ""
        self.ready = False

    def tick(self) -> None:
        now = time.monotonic()
        if self.ready or now < self._ask_at:
            return
        self._ask_at = now + _ASK_EVERY_S
        answer = ask(self._layout.port)
        if answer.ready:
            self.ready = True
            self._announce()
        elif answer.waiting_for != self._waiting_for or now >= self._repeat_at:
            self._waiting_for, self._repeat_at = answer.waiting_for, now + _REPEAT_EVERY_S
            waited = now - self._started
            self._console.say(f"      {waited:4.0f} s  waiting for {answer.waiting_for}")

    def _announce(self) -> None:
        say = self._console.say
        say(f"      done in {time.monotonic() - self._started:.1f} s")
        say()
        say("  The studio is ready.")
        say(f"    Address    {self._layout.url}{self._login.workspace_path}")
        say(f"    E-mail     {self._login.email}")
        say(f"    Password   {self._login.password}")
        say(f"    State      {self._layout.state}")
        say("    Stop       Ctrl-C")
        say()


def _run(layout: Layout, console: Console, servers: RunningServers) -> None:
    settings = studio_settings(layout, servers, os.environ)
    publish_settings(layout, settings)
    env = {**with_venv_first(os.environ, layout), **settings}
    with console.step("Database contents"):
        login = prepare_database(layout, console, env)
    console.say(f"[{console.steps}/{console.steps}] Processes")
    watch = ReadyWatch(layout, console, login)

    def tick() -> None:
        servers.revive(console.line)
        watch.tick()

    supervisor = Supervisor(
        studio_processes(layout, {**env, SUPERVISED: str(layout.state)}),
        emit=console.line,
        cwd=layout.root,
        on_tick=tick,
    )
    supervisor.stop_on_signals()
    supervisor.run()
