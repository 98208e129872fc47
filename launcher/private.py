"""Files only their owner may read: passwords, keys, and the environment of a running studio."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Create `path` readable by its owner alone; an existing folder stays as it is."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str, *, uid: int = -1, gid: int = -1) -> None:
    """Replace `path` by `text` in one step, with mode 0600 from the first byte on."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if uid >= 0:
            os.chown(draft, uid, gid)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in `path`; made, and written with mode 0600, the first time."""
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    private_folder(path.parent)
    secret = make()
    write_private(path, secret + "\n")
    return secret


def new_password() -> str:
    """A password safe in a URL, in a configuration file and in SQL quotes."""
    return secrets.token_hex(24)


def new_secret() -> str:
    """A text that nobody guesses, as long as Django wants it for signing."""
    return secrets.token_urlsafe(48)


def new_key() -> str:
    """32 random bytes as base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()
