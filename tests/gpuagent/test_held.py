"""Attempts in hand: taken once, stopped for the weightiest reason, given up with the lease."""

from __future__ import annotations

import threading

import pytest

from gpuagent.protocol.messages import LEASE_SECONDS, HeldAttempt
from gpuagent.runner import clock
from gpuagent.runner.held import AttemptStoppedError, Held, HeldAttempts, Stop

from .support import ROOT

ATTEMPT = "att_1"


def taken(attempts: HeldAttempts, attempt_id: str = ATTEMPT, fence: int = 1) -> Held:
    held = attempts.take(attempt_id, fence)
    assert held is not None
    held.is_claimed = True
    return held


def test_message_that_comes_again_is_dropped() -> None:
    attempts = HeldAttempts()
    held = taken(attempts)
    assert attempts.take(ATTEMPT, 1) is None
    attempts.drop(held)
    assert attempts.take(ATTEMPT, 1) is None
    assert attempts.take(ATTEMPT, 2) is not None


def test_unclaimed_attempt_may_come_again() -> None:
    attempts = HeldAttempts()
    attempts.drop(taken(attempts), forget=True)
    assert attempts.take(ATTEMPT, 1) is not None


def test_only_claimed_attempts_are_told_to_the_studio() -> None:
    attempts = HeldAttempts()
    held = attempts.take(ATTEMPT, 1)
    assert held is not None
    assert attempts.list() == ()
    held.is_claimed = True
    assert attempts.list() == (HeldAttempt(attempt_id=ATTEMPT, fence=1),)


@pytest.mark.parametrize("order", [(Stop.CANCELED, Stop.LOST), (Stop.LOST, Stop.CANCELED)])
def test_lost_outweighs_canceled(order: tuple[Stop, Stop]) -> None:
    attempts = HeldAttempts()
    held = taken(attempts)
    for reason in order:
        attempts.stop([ATTEMPT, "att_unknown"], reason)
    with pytest.raises(AttemptStoppedError) as caught:
        held.check()
    assert caught.value.reason is Stop.LOST


def test_the_studio_says_how_long_the_lease_is() -> None:
    held = Held(ATTEMPT, 1, now=100.0)
    held.lease(110.0, 4.0)
    assert held.is_claimed
    assert held.reason(114.0) is None
    assert held.reason(114.5) is Stop.LOST


def test_lease_runs_out_by_the_agents_own_clock() -> None:
    held = Held(ATTEMPT, 1, now=100.0)
    assert held.reason(100.0 + LEASE_SECONDS) is None
    held.renew(105.0)
    assert held.reason(105.0 + LEASE_SECONDS) is None
    held.renew(50.0)
    assert held.reason(105.1 + LEASE_SECONDS) is Stop.LOST
    # An answer that comes too late brings nothing back.
    held.renew(1000.0)
    assert held.reason(1000.0) is Stop.LOST


def test_renewal_is_for_the_confirmed_fence_only() -> None:
    attempts = HeldAttempts()
    held = taken(attempts)
    held.stop(Stop.CANCELED)
    attempts.renew([HeldAttempt(attempt_id=ATTEMPT, fence=2)], sent_at=1e9)
    assert held.reason(2e9) is Stop.LOST


def test_draining_lets_the_picture_end_and_takes_nothing_more() -> None:
    attempts = HeldAttempts()
    held = taken(attempts)
    assert not attempts.drain(0.01)
    held.check()
    with pytest.raises(AttemptStoppedError) as caught:
        held.check_next_picture()
    assert caught.value.reason is Stop.DRAINED
    assert attempts.take("att_2", 1) is None
    assert not attempts.stop_all(0.01)
    with pytest.raises(AttemptStoppedError):
        held.check()


def test_draining_ends_as_soon_as_hands_are_empty() -> None:
    attempts = HeldAttempts()
    held = taken(attempts)
    threading.Timer(0.05, attempts.drop, [held]).start()
    assert attempts.drain(20)


def test_reports_are_numbered_from_one() -> None:
    held = Held(ATTEMPT, 1)
    assert [held.next_seq() for _ in range(3)] == [1, 2, 3]


def test_agent_that_takes_nothing_more_refuses_what_is_new_only() -> None:
    held = HeldAttempts()
    in_hand, done = held.take("att_1", 1), held.take("att_2", 1)
    assert in_hand is not None
    assert done is not None
    held.drop(done)
    assert not held.refuses("att_3", 1)
    held.close()
    assert [held.refuses(a, 1) for a in ("att_1", "att_2", "att_3")] == [False, False, True]
    assert held.take("att_3", 1) is None
    held.reopen()
    assert not held.refuses("att_3", 1)
    assert held.take("att_3", 1) is not None


def test_leases_are_not_judged_by_a_clock_that_can_be_set() -> None:
    """No module of the agent looks at the wall clock at all."""
    for path in (ROOT / "gpuagent").rglob("*.py"):
        text = path.read_text()
        assert "time.time()" not in text, path
        assert "datetime" not in text, path


def test_lease_runs_out_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    at = clock.now()
    held = Held("att_1", 1)
    held.lease(at, 15.0)
    assert held.reason() is None
    monkeypatch.setattr(clock, "now", lambda: at + 16)
    assert held.reason() is Stop.LOST
