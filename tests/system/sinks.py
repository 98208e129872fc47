"""Everywhere that something may be left behind: each sink tells which of the canaries it holds."""

from __future__ import annotations

import mmap
import os
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from playwright.sync_api import Page, Request, Response, WebSocket
from psycopg import sql
from redis import Redis

from launcher.process import wait_until
from tests.looking import all_of_redis

from .product import Product

Secrets = Mapping[str, bytes]
_CHUNK = 1 << 20


def named_in(content: bytes, secrets: Secrets) -> set[str]:
    """Names of the secrets that the bytes hold: as they are, in hex, or escaped as in JSON."""
    return {name for name, secret in secrets.items() if any(f in content for f in _forms(secret))}


def _forms(secret: bytes) -> tuple[bytes, ...]:
    """As it is, and as it stands in a hex, escaped or base64 text, wherever it begins there."""
    encoded = []
    for shift in range(3):
        whole = b64encode(bytes(shift) + secret)
        encoded.append(whole[(0, 2, 3)[shift] : len(whole) // 4 * 4 - 4])
    return secret, secret.hex().encode(), repr(secret)[2:-1].encode(), *encoded


def held_by(path: Path, secrets: Secrets) -> set[str]:
    """What a file holds, however large it is."""
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return set()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return {
                    name
                    for name, secret in secrets.items()
                    if any(content.find(form) >= 0 for form in _forms(secret))
                }
    except (FileNotFoundError, PermissionError, ValueError):
        return set()  # it went, or it was cut, while it was looked for


def files_below(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def in_files(secrets: Secrets, *folders: Path) -> dict[str, set[str]]:
    """File to what it holds; only those that hold something."""
    found = {str(path): held_by(path, secrets) for path in files_below(*folders)}
    return {path: names for path, names in found.items() if names}


def open_files(pids: set[int]) -> Iterator[Path]:
    """Regular files that the processes have open, those without a name too."""
    for pid in pids:
        try:
            opened = list(Path(f"/proc/{pid}/fd").iterdir())
        except (FileNotFoundError, PermissionError):
            continue
        for entry in opened:
            try:
                is_regular = entry.is_file()
            except OSError:
                continue
            if is_regular:
                yield entry


def in_open_files(secrets: Secrets, pids: set[int]) -> dict[str, set[str]]:
    found = {str(path): held_by(path, secrets) for path in open_files(pids)}
    return {path: names for path, names in found.items() if names}


def in_database(product: Product, secrets: Secrets) -> dict[str, set[str]]:
    """Table to what its rows hold, with what the server remembers of statements."""
    found: dict[str, set[str]] = {}
    with psycopg.connect(product.settings()["DATABASE_URL"]) as connection:
        connection.execute("SELECT set_config('studio.organization', '*', false)")
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables.fetchall():
            query = sql.SQL("SELECT row_to_json(t)::text FROM {} t").format(sql.Identifier(table))
            found[table] = set().union(
                *(named_in(row.encode(), secrets) for (row,) in connection.execute(query))
            )
        running = connection.execute("SELECT query FROM pg_stat_activity").fetchall()
        found["pg_stat_activity"] = named_in(repr(running).encode(), secrets)
    return {table: names for table, names in found.items() if names}


class RedisWatch:
    """Every command that any client sends to Redis, with its arguments, while it watches."""

    def __init__(self, product: Product) -> None:
        parts = urlsplit(product.settings()["REDIS_URL"])
        self.client = Redis(port=parts.port or 0, password=parts.password)
        self.heard = b""
        self._line = socket.create_connection(("127.0.0.1", parts.port or 0))
        self._line.sendall(f"AUTH {parts.password}\r\nMONITOR\r\n".encode())
        threading.Thread(target=self._listen, daemon=True).start()
        assert wait_until(lambda: self.heard.count(b"+OK") == 2, 10.0), self.heard

    def holds(self, secrets: Secrets) -> set[str]:
        """What was sent, and what lies there now."""
        lying = all_of_redis(self.client).encode()
        return named_in(self.heard, secrets) | named_in(lying, secrets)

    def close(self) -> None:
        self._line.close()
        self.client.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while piece := self._line.recv(_CHUNK):
                self.heard += piece


@dataclass
class Wire:
    """Addresses, headers and socket texts that a browser exchanged; no bodies."""

    said: list[str] = field(default_factory=list)
    answers: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("request", self._request)
        page.on("response", self._response)
        page.on("websocket", self._socket)

    def holds(self, secrets: Secrets) -> set[str]:
        return named_in("\n".join(self.said).encode(errors="replace"), secrets)

    def _request(self, request: Request) -> None:
        self.said.append(request.url)
        self.said.append(request.headers.get("referer", ""))

    def _response(self, response: Response) -> None:
        self.answers.append((response.url, response.status, response.headers))
        kept = {name: text for name, text in response.headers.items() if name != "set-cookie"}
        self.said.append(f"{response.url} {kept}")

    def _socket(self, socket: WebSocket) -> None:
        self.said.append(socket.url)
        socket.on("framereceived", lambda frame: self.said.append(str(frame)))
        socket.on("framesent", lambda frame: self.said.append(str(frame)))
