"""Numbers for Prometheus, and whether they are well, from processes that serve nothing else: a
small HTTP server of their own.

Who asks for numbers must show `STUDIO_METRICS_TOKEN`. Without such a token only this machine is
answered. Health is told to anybody: alive or not, and what is waited for.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from typing_extensions import override

PATH = "/metrics"
STUCK_SECONDS = 60.0
_ASK_SECONDS = 10.0


class Vitals(Protocol):
    """How a process is."""

    def is_alive(self) -> bool:
        """False: it should be started anew."""

    def waiting_for(self) -> str:
        """What it lacks to do its work, in words; empty if nothing."""


class Pulse:
    """The vitals of a process with one loop, which says at each turn how things stand."""

    def __init__(self) -> None:
        self._at, self._waiting_for = time.monotonic(), "its first round"

    def beat(self, *, waiting_for: str = "") -> None:
        """The loop has turned."""
        self._at, self._waiting_for = time.monotonic(), waiting_for

    def is_alive(self) -> bool:
        """False when the loop has not turned for long."""
        return time.monotonic() - self._at < STUCK_SECONDS

    def waiting_for(self) -> str:
        """What the last turn lacked."""
        return self._waiting_for if self.is_alive() else "a round that does not end"


def is_metrics_token(header: str) -> bool:
    """Whether an `Authorization` header shows the token for metrics; never if none is set."""
    scheme, _, plain = header.partition(" ")
    token: str = settings.METRICS_TOKEN
    is_bearer = scheme.lower() == "bearer"
    return bool(token) and is_bearer and hmac.compare_digest(plain.strip().encode(), token.encode())


def serve_metrics(
    setting: str, address: tuple[str, int] | None, registry: CollectorRegistry, vitals: Vitals
) -> ThreadingHTTPServer | None:
    """Answer `GET /metrics`, `/healthz` and `/readyz` at the address, in a thread that ends with
    the process; None: nowhere.

    Raises:
        ImproperlyConfigured: others could ask without a token, or the address cannot be had.
    """
    if address is None:
        return None
    host, port = address
    if not settings.METRICS_TOKEN and not _is_loopback(host):
        raise ImproperlyConfigured(
            f"{setting} is {host}:{port}, where others can ask, and STUDIO_METRICS_TOKEN is not "
            "set. Set it, or listen on 127.0.0.1."
        )
    try:
        server = ThreadingHTTPServer(address, _handler(registry, vitals))
    except OSError as error:
        raise ImproperlyConfigured(
            f"{setting} is {host}:{port}, which cannot be listened on: {error.strerror}."
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _handler(registry: CollectorRegistry, vitals: Vitals) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _ASK_SECONDS
        server_version = "studio"
        sys_version = ""

        def do_GET(self) -> None:
            is_known = not settings.METRICS_TOKEN or is_metrics_token(
                self.headers.get("Authorization", "")
            )
            path = self.path.partition("?")[0]
            if path == "/healthz":
                is_alive = vitals.is_alive()
                self._say(200 if is_alive else 503, {"alive": is_alive})
            elif path == "/readyz":
                lacks = vitals.waiting_for()
                self._say(503 if lacks else 200, {"ready": not lacks, "waiting_for": lacks})
            elif path != PATH:
                self._answer(404, b"There is nothing at this address.\n")
            elif not is_known:
                self._answer(403, b"Send the metrics token as Authorization: Bearer.\n")
            else:
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)

        def _say(self, status: int, body: dict[str, object]) -> None:
            self._answer(status, json.dumps(body).encode(), "application/json")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nobody wants a line each time that it is asked."""

    return Handler
