"""Asks the web process whether the whole studio is ready."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from launcher.ports import HOST


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer; `waiting_for` is for people and empty once ready."""

    ready: bool
    waiting_for: str


def ask(port: int, *, timeout_s: float = 1.0) -> Readiness:
    """GET /readyz on this machine."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz", headers={"Accept": "application/json"})
        response = connection.getresponse()
        return judge(response.status, response.read(65536))
    except (OSError, http.client.HTTPException):
        return Readiness(False, "the web process")
    finally:
        connection.close()


def judge(status: int, body: bytes) -> Readiness:
    """Read the answer: 200 with `ready: true` is ready, anything else is not yet."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Readiness(False, f"the web process (it answered {status})")
    if status == http.client.OK and said.get("ready") is True:
        return Readiness(True, "")
    return Readiness(False, str(said.get("waiting_for") or f"the web process ({status})"))
