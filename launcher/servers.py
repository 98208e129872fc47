"""PostgreSQL and Valkey together, as the studio, its tests and its benchmarks use them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from launcher.checks import prepare_state
from launcher.errors import LauncherError
from launcher.layout import REPOSITORY, Layout
from launcher.pghome import forget_outside, prepare_home
from launcher.ports import kept_port
from launcher.postgres import Postgres
from launcher.private import kept_secret, new_password, private_folder
from launcher.valkey import Valkey, find_binary

_LOG_LIMIT_BYTES = 10_000_000
_REVIVE_PAUSE_S = 2.0


@dataclass
class RunningServers:
    """The servers of one state folder; a part is None where the user's own server serves."""

    database_url: str
    redis_url: str
    postgres: Postgres | None
    valkey: Valkey | None
    _not_before: float = field(default=0.0, repr=False)

    def stop(self) -> None:
        """Stop what was started here: Valkey, then PostgreSQL."""
        if self.valkey:
            self.valkey.stop()
        if self.postgres:
            self.postgres.stop()

    def revive(self, report: Callable[[str, str], None]) -> None:
        """Start a server again that has died, on the same port; cheap when all are well."""
        if time.monotonic() < self._not_before:
            return
        for name, server in (("postgres", self.postgres), ("valkey", self.valkey)):
            if server is None or server.is_running():
                continue
            report(name, "ended unexpectedly; starting it again")
            try:
                server.start()
                report(name, "is back")
            except LauncherError as error:
                report(name, str(error))
                self._not_before = time.monotonic() + _REVIVE_PAUSE_S


def start_servers(
    state: Path,
    *,
    durable: bool,
    database_url: str | None = None,
    redis_url: str | None = None,
    root: Path = REPOSITORY,
) -> RunningServers:
    """Start the servers of a state folder and wait until both answer.

    A given URL means that the user's own server is used and none is started. Without `durable`
    the data may be lost in a crash: for tests only. Servers end with the thread that called.
    """
    prepare_state(state)
    layout = Layout(root=root, state=state, port=0)
    ports = state / "ports.json"
    servers = RunningServers(database_url or "", redis_url or "", None, None)
    try:
        if not database_url:
            servers.postgres = _postgres(layout, durable)
            _start(servers.postgres, ports, "postgres")
            servers.database_url = servers.postgres.url
        if not redis_url:
            servers.valkey = _valkey(layout, durable)
            _start(servers.valkey, ports, "valkey")
            servers.redis_url = servers.valkey.url
    except BaseException:
        servers.stop()
        raise
    return servers


@contextmanager
def throwaway_servers(root: Path = REPOSITORY) -> Iterator[tuple[Path, RunningServers]]:
    """A new state folder and fast, forgetful servers in it; all of it is deleted at the end."""
    state = Path(tempfile.mkdtemp(prefix="studio-test-"))
    state.chmod(0o711)  # our own folder: the database's user must pass through it
    servers: RunningServers | None = None
    try:
        servers = start_servers(state, durable=False, root=root)
        yield state, servers
    finally:
        if servers:
            servers.stop()
        forget_outside(state)
        shutil.rmtree(state, ignore_errors=True)


def _start(server: Postgres | Valkey, ports: Path, name: str) -> None:
    """End a survivor first: it may be the one that holds the port we keep."""
    server.end_survivor()
    server.port = kept_port(ports, name)
    server.start()


def _postgres(layout: Layout, durable: bool) -> Postgres:
    secrets = layout.secrets
    return Postgres(
        home=prepare_home(layout.state, layout.site_packages()),
        port=0,
        log=_log(layout, "postgres"),
        admin_password=kept_secret(secrets / "postgres-admin", new_password),
        owner_password=kept_secret(secrets / "postgres-studio", new_password),
        durable=durable,
    )


def _valkey(layout: Layout, durable: bool) -> Valkey:
    return Valkey(
        folder=layout.state / "valkey",
        binary=find_binary(layout.site_packages()),
        port=0,
        log=_log(layout, "valkey"),
        password=kept_secret(layout.secrets / "valkey", new_password),
        durable=durable,
    )


def _log(layout: Layout, name: str) -> Path:
    """The server's log; a large one is put aside first."""
    log = private_folder(layout.logs) / f"{name}.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log
