"""Clouds that take machines back say so shortly before; this asks for that word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import httpx

from gpuagent.runner.logs import log_event

_EVERY_SECONDS = 5.0
_TIMEOUT = httpx.Timeout(2.0)
# Seconds from the word to the end, less what an orderly end takes.
NOTICE_SECONDS: Mapping[str, float] = MappingProxyType({"aws": 105.0, "gcp": 20.0, "azure": 20.0})
_ADDRESSES: Mapping[str, str] = MappingProxyType(
    {
        "aws": "http://169.254.169.254",
        "gcp": "http://metadata.google.internal",
        "azure": "http://169.254.169.254",
    }
)


class NoticeWatch:
    """Asks the machine's own metadata service, from its own thread, until it says that it ends."""

    def __init__(
        self,
        kind: str,
        on_notice: Callable[[float], None],
        *,
        address: str | None = None,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        self._ask = {"aws": self._aws, "gcp": self._gcp, "azure": self._azure}[kind]
        self._kind = kind
        self._address = address or _ADDRESSES[kind]
        self._on_notice = on_notice
        self._every_seconds = every_seconds
        self._closing = threading.Event()
        self._http = httpx.Client(timeout=_TIMEOUT, trust_env=False)
        self._thread = threading.Thread(target=self._run, name="notice", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                if self._ask():
                    log_event("agent.notice", cloud=self._kind)
                    self._on_notice(NOTICE_SECONDS[self._kind])
                    return
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                pass  # no answer is no notice
            self._closing.wait(self._every_seconds)

    def _aws(self) -> bool:
        token = self._http.put(
            f"{self._address}/latest/api/token",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        answer = self._http.get(
            f"{self._address}/latest/meta-data/spot/instance-action",
            headers={"X-aws-ec2-metadata-token": token.text},
        )
        return answer.status_code == httpx.codes.OK and answer.json()["action"] != "hibernate"

    def _gcp(self) -> bool:
        answer = self._http.get(
            f"{self._address}/computeMetadata/v1/instance/preempted",
            headers={"Metadata-Flavor": "Google"},
        )
        return answer.is_success and answer.text.strip() == "TRUE"

    def _azure(self) -> bool:
        answer = self._http.get(
            f"{self._address}/metadata/scheduledevents",
            params={"api-version": "2020-07-01"},
            headers={"Metadata": "true"},
        )
        events = answer.json()["Events"] if answer.is_success else ()
        return any(event["EventType"] in ("Preempt", "Terminate") for event in events)
