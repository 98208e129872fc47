"""Loopback ports: free ones, and the ones a state folder keeps."""

from __future__ import annotations

import json
import secrets
import socket
from pathlib import Path

from launcher.errors import LauncherError

HOST = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections, so that a server
# that restarts finds its port again.
_LOWEST, _HIGHEST = 20000, 32000


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port nobody listens on now."""
    for _ in range(200):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if is_free(port):
            return port
    raise LauncherError("No free port was found on 127.0.0.1. Close some programs and try again.")


def kept_port(file: Path, name: str) -> int:
    """The port `name` had last time; a new one, written to `file`, if that one is taken."""
    ports = _read(file)
    port = ports.get(name, 0)
    if not port or not is_free(port):
        port = ports[name] = free_port()
        file.write_text(json.dumps(ports), encoding="utf-8")
    return port


def require_free(port: int) -> None:
    """Raise LauncherError if the web process could not listen on `port`."""
    if is_free(port):
        return
    other = port + 100 if port + 100 < 65536 else 8100
    while not is_free(other):
        other = free_port()
    raise LauncherError(
        f"Port {port} is taken by another program. Stop that program, "
        f"or try STUDIO_PORT={other} make up."
    )


def _read(file: Path) -> dict[str, int]:
    try:
        ports = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): int(port) for name, port in ports.items()}
