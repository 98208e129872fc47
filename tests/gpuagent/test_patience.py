"""Waiting for a store that is away: how long, for what, and never longer than the lease."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.protocol.failures import FailureCode
from gpuagent.runner import patience
from gpuagent.runner.held import AttemptStoppedError, Held, Stop
from gpuagent.runner.patience import patiently


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"AWAY_SECONDS": 0.5, "FULL_SECONDS": 0.1, "_PAUSE_FIRST": 0.01}.items():
        monkeypatch.setattr(patience, name, seconds)


def failing(reason: str, *, times: int) -> tuple[Callable[[], str], list[str]]:
    """Fails so many times; the calls are noted."""
    calls: list[str] = []

    def call() -> str:
        calls.append(reason)
        if len(calls) <= times:
            raise AttemptFailedError(FailureCode.STORE_FAILED, reason=reason)
        return "stored"

    return call, calls


@pytest.mark.parametrize("reason", ["HTTP 503", "ConnectError", "ReadTimeout", "disk full"])
def test_what_passes_is_waited_for(reason: str) -> None:
    call, calls = failing(reason, times=2)
    assert patiently(call, check=lambda: None) == "stored"
    assert len(calls) == 3


@pytest.mark.parametrize("reason", ["HTTP 403", "HTTP 404", "FileNotFoundError", "not a SHA-256"])
def test_what_stays_is_told_at_once(reason: str) -> None:
    call, calls = failing(reason, times=9)
    with pytest.raises(AttemptFailedError):
        patiently(call, check=lambda: None)
    assert len(calls) == 1


def test_patience_ends() -> None:
    call, calls = failing("HTTP 500", times=10_000)
    with pytest.raises(AttemptFailedError) as caught:
        patiently(call, check=lambda: None)
    assert caught.value.data["reason"] == "HTTP 500"
    assert len(calls) > 2


def test_a_lost_lease_ends_it_sooner() -> None:
    call, calls = failing("HTTP 500", times=10_000)
    held = Held("att_1", 1)
    held.stop(Stop.LOST)
    with pytest.raises(AttemptStoppedError):
        patiently(call, check=held.check)
    assert len(calls) == 1
