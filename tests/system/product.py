"""`launcher up` in a folder of its own: what it says, who its processes are, how they die."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from redis import Redis

from launcher.layout import REPOSITORY
from launcher.ports import free_port
from launcher.process import die_with_parent, wait_until

LEASE_S = 4
START_TIMEOUT_S = 120.0
_ONCE_TIMEOUT_S = 60.0
_MARKS = {
    "web": "-m studio.serve",
    "dispatcher": "manage.py dispatch",
    "worker": "manage.py work",
    "agent": "-m gpuagent",
}
NAMES = tuple(_MARKS)


class Product:
    """One state folder and the launchers started in it; `lines` is all they ever printed."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.port = free_port()
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._seen = 0
        self._settings: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def workspace(self) -> str:
        """The id of the first workspace, out of the address it announced."""
        return self._said(r"Address +\S+/w/(\w+)/")

    @property
    def email(self) -> str:
        return self._said(r"E-mail +(\S+)")

    @property
    def password(self) -> str:
        return self._said(r"Password +(\S+)")

    def up(self) -> float:
        """Start, wait until it says that it is ready; the seconds that took."""
        began = time.monotonic()
        self._seen, self._settings = len(self.lines), {}
        self._process = self._start("up")
        self._reader = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._reader.start()
        ready = wait_until(lambda: self.has_said(r"Stop +Ctrl-C"), START_TIMEOUT_S)
        assert ready, self.text()
        return time.monotonic() - began

    def stop(self, sig: signal.Signals = signal.SIGINT) -> int:
        """Ask it to end, wait, and return its exit code."""
        assert self._process is not None and self._reader is not None
        self._process.send_signal(sig)
        code = self._process.wait(60)
        self._reader.join(5)
        self._process = None
        return code

    def once(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Another launcher command beside the running one, to its end."""
        process = self._start(*arguments, **env)
        said, _ = process.communicate(timeout=_ONCE_TIMEOUT_S)
        self.lines.append(said)
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def ensure_up(self) -> None:
        if not self.is_up():
            self.up()

    def end(self) -> None:
        if self.is_up():
            self.stop(signal.SIGTERM)

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def text(self) -> str:
        """What was printed since the last start."""
        return "".join(self.lines[self._seen :])

    def has_said(self, pattern: str, *, times: int = 1) -> bool:
        return len(re.findall(pattern, self.text())) >= times

    # ------------------------------------------------------------------ processes

    def pid(self, name: str) -> int:
        """The process called `name` that runs now; waits if it is being started."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid, argv in self._children() if _MARKS[name] in argv]
            return bool(found)

        assert wait_until(look, 20.0), f"no {name}: {self.text()}"
        return found[0]

    def signal(self, name: str, sig: signal.Signals) -> int:
        pid = self.pid(name)
        os.kill(pid, sig)
        return pid

    def kill(self, name: str) -> int:
        """`kill -9`; the launcher is to notice."""
        return self.signal(name, signal.SIGKILL)

    def kill_postgres(self) -> None:
        lines = (self.postgres / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)

    def pids(self) -> set[int]:
        """The launcher and all that descends from it; the database is its own tree."""
        assert self._process is not None
        lines = (self.postgres / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        found = {self._process.pid, int(lines[0])}
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
        while more := {pid for pid, parent in rows if parent in found} - found:
            found |= more
        return found

    def _children(self) -> list[tuple[int, str]]:
        assert self._process is not None
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = (line.split(None, 2) for line in listed.stdout.splitlines())
        return [(int(r[0]), r[2]) for r in rows if len(r) == 3 and int(r[1]) == self._process.pid]

    # ------------------------------------------------------------------ what lies below

    @property
    def postgres(self) -> Path:
        """The database's data; elsewhere if its user cannot pass through the state folder."""
        record = self.state / "postgres-home"
        home = Path(record.read_text().strip()) if record.exists() else self.state / "postgres"
        return home / "data"

    def settings(self) -> dict[str, str]:
        """What `launcher env` prints; never kept among the lines, for it holds passwords."""
        if not self._settings:
            said, _ = self._start("env").communicate(timeout=_ONCE_TIMEOUT_S)
            self._settings = dict(line.split("=", 1) for line in said.splitlines())
        return self._settings

    def attempts(self, job_id: str) -> list[str]:
        """The states of a job's attempts in the order of their fences."""
        return [status for _id, status in self.attempts_by_fence(job_id)]

    def attempts_by_fence(self, job_id: str) -> list[tuple[str, str]]:
        """Id and state of a job's attempts; the first has fence 1."""
        with psycopg.connect(self.settings()["DATABASE_URL"]) as connection:
            # Row-level security shows nothing to who does not say what they may see.
            connection.execute("SELECT set_config('studio.organization', '*', false)")
            query = "SELECT id, status FROM jobs_jobattempt WHERE job_id = %s ORDER BY fence"
            return [(row[0], row[1]) for row in connection.execute(query, [job_id])]

    def agent_token(self) -> str:
        """What the agent of this machine proves itself with."""
        return str(json.loads((self.state / "agent.json").read_text(encoding="utf-8"))["token"])

    def empty_broker(self) -> None:
        """FLUSHALL."""
        parts = urlsplit(self.settings()["REDIS_URL"])
        with Redis(port=parts.port or 0, password=parts.password) as redis:
            redis.flushall()

    def _start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "launcher", *arguments],
            cwd=REPOSITORY,
            env={**self._environment(), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    def _environment(self) -> dict[str, str]:
        """This process's own, less what the test run was configured with; short leases."""
        given = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("STUDIO_") and not name.endswith("_URL")
        }
        return given | {
            "STUDIO_STATE": str(self.state),
            "TMPDIR": str(self.temporary),
            "STUDIO_PORT": str(self.port),
            "STUDIO_LEASE_SECONDS": str(LEASE_S),
            "STUDIO_HEARTBEAT_SECONDS": "1",
        }

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line)

    def _said(self, pattern: str) -> str:
        found = re.search(pattern, self.text())
        assert found, self.text()
        return found.group(1)
