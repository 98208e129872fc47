"""`launcher up` as a person starts it, with a product so small that it is ready at once.

The servers, the web server and the supervision are real; `manage.py`, `studio.asgi` and
`gpuagent` are a few lines each, and the installation is left out.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.layout import REPOSITORY
from launcher.ports import free_port, is_free
from launcher.process import command_line, wait_until

MANAGE = """
import json, os, signal, sys, time
if sys.argv[1] == "prepare":
    import psycopg
    psycopg.connect(os.environ["DATABASE_URL"]).close()
    print("tables are up to date")
    print(json.dumps({"email": "demo@localhost", "password": "pw", "workspace_path": "/w/1/"}))
    sys.exit()
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
print("pid", os.getpid(), flush=True)
time.sleep(300)
"""
ASGI = """
import json
async def application(scope, receive, send):
    body = json.dumps({"ready": True, "agents_warm": 1}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
DRIVER = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from launcher import cli, layout, once, up
def nothing(*arguments, **options): pass
up.install_python_packages = once.install_python_packages = nothing
layout.Layout.from_environment.__func__.__kwdefaults__["root"] = Path({root!r})
sys.exit(cli.main(sys.argv[1:]))
"""


class Studio:
    """One tiny repository and the launchers started in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        self.state = folder / "state"
        self.port = free_port()
        self.said: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []
        (self.root / "studio").mkdir(parents=True)
        (self.root / "requirements").mkdir()
        (self.root / ".venv").symlink_to(REPOSITORY / ".venv")
        agent = MANAGE.replace("sys.argv[1]", "'agent'")
        files = {"manage.py": MANAGE, "studio/asgi.py": ASGI, "gpuagent.py": agent}
        files["driver.py"] = DRIVER.format(repository=str(REPOSITORY), root=str(self.root))
        for name, text in files.items():
            (self.root / name).write_text(text)
        (self.root / "studio" / "core").mkdir()
        for name in ("serve.py", "connections.py", "env.py", "core/stopping.py"):
            (self.root / "studio" / name).symlink_to(REPOSITORY / "studio" / name)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        own = {"STUDIO_STATE": str(self.state), "STUDIO_PORT": str(self.port)}
        given = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("STUDIO_") and not name.endswith("_URL")
        }
        process = subprocess.Popen(
            [sys.executable, "driver.py", *arguments],
            cwd=self.root,
            env={**given, **own, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def up(self) -> subprocess.Popen[str]:
        """Start and wait until it says it is ready."""
        self.said = []
        process = self.start("up")
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        ready = wait_until(lambda: self.has_said(r"Stop +Ctrl-C"), 30.0)
        assert ready, "".join(self.said)
        return process

    def has_said(self, pattern: str) -> bool:
        return re.search(pattern, "".join(self.said)) is not None

    def child_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"\| pid (\d+)", "".join(self.said))]

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
                process.wait(30)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line)


@pytest.fixture
def studio(open_folder: Path) -> Iterator[Studio]:
    started = Studio(open_folder)
    yield started
    started.end()


def test_up_announces_itself_serves_other_commands_and_stops_in_order(studio: Studio) -> None:
    # Given a studio that is up
    process = studio.up()
    text = "".join(studio.said)
    assert re.search(rf"Address +http://127\.0\.0\.1:{studio.port}/w/1/", text)
    assert re.search(r"E-mail +demo@localhost\n +Password +pw\n", text)
    assert re.search(r"agent {6}\| pid \d+", text)

    # A second one in the same folder is refused in a sentence
    second = studio.start("up")
    answer, _ = second.communicate(timeout=20)
    assert second.returncode == 1
    assert f"(process {process.pid}, http://127.0.0.1:{studio.port})" in answer
    assert "Traceback" not in answer

    # So is one beside it on the same port
    beside = studio.start("up", STUDIO_STATE=str(studio.state.with_name("beside")))
    answer, _ = beside.communicate(timeout=20)
    assert beside.returncode == 1
    assert f"Port {studio.port} is taken" in answer

    # Other commands get its settings
    shown, _ = studio.start("env").communicate(timeout=20)
    settings = dict(line.split("=", 1) for line in shown.splitlines())
    code = "import os; print(os.environ['DATABASE_URL'])"
    printed, _ = studio.start("run", "--", "python", "-c", code).communicate(timeout=20)
    assert printed.strip() == settings["DATABASE_URL"]
    assert settings["STUDIO_URL"] == f"http://127.0.0.1:{studio.port}"

    # Ctrl-C ends it in order, and nothing is left
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert wait_until(lambda: studio.has_said("The studio has stopped"), 5.0)
    order = re.findall(r"studio +\| (\w+) has stopped", "".join(studio.said))
    assert order == ["agent", "worker", "dispatcher", "web"]
    assert not any(command_line(pid) for pid in studio.child_pids())
    assert is_free(studio.port)


def test_up_after_a_killed_launcher_starts_again_at_once(studio: Studio) -> None:
    process = studio.up()
    children = studio.child_pids()
    assert len(children) == 3
    process.kill()
    process.wait()

    again = studio.up()

    assert not any(command_line(pid) for pid in children)
    again.terminate()
    assert again.wait(30) == 0


def test_a_killed_server_is_started_again_while_up_runs(studio: Studio) -> None:
    studio.up()
    data = studio.state / "postgres" / "data"
    os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)

    assert wait_until(lambda: studio.has_said(r"postgres +\| is back"), 20.0)


def test_run_starts_the_servers_itself_and_returns_the_commands_code(studio: Studio) -> None:
    code = (
        "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).close(); "
        "print('connected'); raise SystemExit(7)"
    )
    process = studio.start("run", "--", "python", "-c", code)
    said, _ = process.communicate(timeout=30)

    assert (said, process.returncode) == ("connected\n", 7)
    assert stat.S_IMODE((studio.state / "secrets").stat().st_mode) == 0o700


def test_a_failing_preparation_ends_in_a_sentence_and_stops_the_servers(studio: Studio) -> None:
    (studio.root / "manage.py").write_text("raise SystemExit('no such table')")
    process = studio.start("up")
    started = time.monotonic()
    said, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "no such table" in said
    assert "Preparing the database failed (exit code 1)" in said
    assert "Traceback" not in said
    assert time.monotonic() - started < 20
    assert not (studio.state / "postgres" / "data" / "postmaster.pid").exists()
