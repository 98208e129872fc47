"""How the agent is, for orchestrators and Prometheus: a small HTTP server, if it is told where.

`/healthz` and `/readyz` answer anybody, alive or not and what is waited for. `/metrics` answers who
shows `STUDIO_METRICS_TOKEN`; without such a token nobody but this machine is listened to.
"""

from __future__ import annotations

import hmac
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from gpuagent.runner.learned import BOUNDS

STUCK_SECONDS = 60.0
_ASK_SECONDS = 10.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
# Readings of the device by their name on the wire.
_READINGS: Mapping[str, tuple[str, str]] = {
    "temperature_c": ("temperature_celsius", "How warm the device is."),
    "power_w": ("power_watts", "What it takes."),
    "utilization": ("utilization_ratio", "How busy it is, 0 to 1."),
    "memory_used_bytes": ("memory_used_bytes", "Memory in use, by whomever."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How things stand. Seconds are since the heartbeat's thread last turned, and was heard."""

    turned_seconds: float
    heard_seconds: float
    lease_seconds: float
    is_ready: bool
    is_leaving: bool
    sick_code: str
    attempts: int
    memory_bytes: int
    telemetry: Mapping[str, object] = field(default_factory=dict)
    residents: Iterable[Mapping[str, object]] = ()

    @property
    def is_alive(self) -> bool:
        return self.turned_seconds < STUCK_SECONDS

    @property
    def waiting_for(self) -> str:
        """What it lacks to take work; empty if nothing."""
        if not self.is_alive:
            return "a heartbeat that does not end"
        if self.is_leaving:
            return "nothing: it is leaving"
        if self.sick_code:
            return f"somebody who looks at it: {self.sick_code}"
        if self.heard_seconds > self.lease_seconds:
            return "the studio"
        return "" if self.is_ready else "its first model"


def metrics_text(vitals: Vitals) -> str:
    """In Prometheus' text format; no model, job or agent is named."""
    lines: list[str] = []

    def add(name: str, text: str, samples: Mapping[str, float], *, kind: str = "gauge") -> None:
        lines.append(f"# HELP studio_agent_{name} {text}")
        lines.append(f"# TYPE studio_agent_{name} {kind}")
        lines.extend(f"studio_agent_{name}{labels} {value}" for labels, value in samples.items())

    add("ready", "1 while it takes work.", {"": float(not vitals.waiting_for)})
    code = _label("code", vitals.sick_code or "none")
    add("sick", "1 while it has taken itself out.", {code: float(bool(vitals.sick_code))})
    add("attempts", "Attempts in hand.", {"": float(vitals.attempts)})
    add("heard_seconds", "Since the studio last answered.", {"": round(vitals.heard_seconds, 3)})
    add("memory_bytes", "What it may use.", {"": float(vitals.memory_bytes)})
    for key, (name, text) in _READINGS.items():
        if (value := _number(vitals.telemetry.get(key))) is not None:
            add(name, text, {"": value})
    reasons = vitals.telemetry.get("throttled")
    if isinstance(reasons, list | tuple):
        samples = {_label("reason", str(reason)): 1.0 for reason in reasons}
        add("throttled", "Why the device is slowed down.", samples)
    _add_loads(add, vitals.telemetry)
    _add_plans(add, vitals.telemetry.get("plan_ratios"))
    held: dict[str, float] = {}
    for item in vitals.residents:
        place = _label("place", str(item.get("place")))
        held[place] = held.get(place, 0.0) + (_number(item.get("bytes")) or 0.0)
    add("resident_bytes", "Weights that lie there.", held)
    return "\n".join(lines) + "\n"


def _add_loads(add: Callable[..., None], telemetry: Mapping[str, object]) -> None:
    for key, name, text in (
        ("loads", "model_loads_total", "Times that a model was wanted, by where it was found."),
        ("load_seconds", "model_load_seconds_total", "How long that took in all."),
    ):
        counts = telemetry.get(key)
        if isinstance(counts, Mapping):
            samples = {_label("source", str(s)): _number(n) or 0.0 for s, n in counts.items()}
            add(name, text, samples, kind="counter")


def _add_plans(add: Callable[..., None], told: object) -> None:
    """How plans were borne out, as a histogram."""
    if not isinstance(told, Mapping):
        return
    counts, samples, total = told.get("counts", {}), dict[str, float](), 0.0
    for bound in (*BOUNDS, math.inf):
        total += _number(counts.get(str(bound))) or 0.0
        samples[_label("le", "+Inf" if math.isinf(bound) else str(bound))] = total
    text = "Memory foreseen for a picture beside the weights, over what it took."
    buckets = {f"_bucket{label}": count for label, count in samples.items()}
    rest = {"_sum": _number(told.get("sum")) or 0.0, "_count": total}
    add("plan_ratio", text, {**buckets, **rest}, kind="histogram")


def _label(name: str, value: str) -> str:
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'{{{name}="{plain}"}}'


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]  # just checked


def serve_vitals(
    address: tuple[str, int], read: Callable[[], Vitals], *, token: str
) -> ThreadingHTTPServer:
    """Answer in a thread that ends with the process.

    Raises:
        OSError: the address cannot be had.
    """
    server = ThreadingHTTPServer(address, _handler(read, token))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="vitals", daemon=True).start()
    return server


def _handler(read: Callable[[], Vitals], token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _ASK_SECONDS
        server_version = "studio"
        sys_version = ""

        def do_GET(self) -> None:
            path, vitals = self.path.partition("?")[0], read()
            if path == "/healthz":
                self._say(vitals.is_alive, {"alive": vitals.is_alive})
            elif path == "/readyz":
                lacks = vitals.waiting_for
                self._say(not lacks, {"ready": not lacks, "waiting_for": lacks})
            elif path != "/metrics":
                self._answer(404, "There is nothing at this address.\n")
            elif not self._is_known():
                self._answer(403, "Send the metrics token as Authorization: Bearer.\n")
            else:
                self._answer(200, metrics_text(vitals), _TEXT)

        def _is_known(self) -> bool:
            scheme, _, shown = self.headers.get("Authorization", "").partition(" ")
            is_same = hmac.compare_digest(shown.strip().encode(), token.encode())
            return not token or (scheme.lower() == "bearer" and is_same)

        def _say(self, is_well: bool, body: dict[str, object]) -> None:
            self._answer(200 if is_well else 503, json.dumps(body), "application/json")

        def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Nobody wants a line each time that it is asked."""

    return Handler
