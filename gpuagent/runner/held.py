"""The attempts this agent holds: leased until a time, and stopped for one reason at most."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum

from gpuagent.protocol.messages import LEASE_SECONDS, HeldAttempt
from gpuagent.runner import clock

_REMEMBERED = 256


class Stop(IntEnum):
    """Why an attempt stops; the larger one wins."""

    YIELDED = 1
    DRAINED = 2
    CANCELED = 3
    LOST = 4


class AttemptStoppedError(Exception):
    """Raised inside the work of an attempt that must stop."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Held:
    """One attempt in this agent's hands. All methods may be called from any thread."""

    def __init__(
        self,
        attempt_id: str,
        fence: int,
        *,
        now: float | None = None,
    ) -> None:
        self.attempt_id = attempt_id
        self.fence = fence
        self.is_claimed = False
        self._lease_seconds = LEASE_SECONDS
        self._leased_at = clock.now() if now is None else now
        self._reason: Stop | None = None
        self._last_picture: Stop | None = None
        self._seq = 0
        self._lock = threading.Lock()

    def next_seq(self) -> int:
        """The number of the next report."""
        with self._lock:
            self._seq += 1
            return self._seq

    def stop(self, reason: Stop) -> None:
        """Ask the work to stop at its next check."""
        with self._lock:
            self._reason = max(reason, self._reason or reason)

    def stop_after_picture(self, reason: Stop = Stop.DRAINED) -> None:
        """Let the picture in hand be finished, and begin no other."""
        with self._lock:
            self._last_picture = max(reason, self._last_picture or reason)

    def lease(self, sent_at: float, seconds: float) -> None:
        """The studio gave the attempt for `seconds`, in answer to something sent at `sent_at`."""
        with self._lock:
            self._leased_at, self._lease_seconds = sent_at, seconds
        self.is_claimed = True

    def renew(self, sent_at: float) -> None:
        """The studio confirmed the lease in answer to something sent at `sent_at`."""
        with self._lock:
            self._leased_at = max(self._leased_at, sent_at)

    def reason(self, now: float | None = None) -> Stop | None:
        """Why the work must stop, or None.

        The lease is judged by this process's clock too: after a pause, or cut off from the
        studio, an agent knows by itself that others may have its work.
        """
        at = clock.now() if now is None else now
        with self._lock:
            if at - self._leased_at > self._lease_seconds:
                self._reason = Stop.LOST
            return self._reason

    def check(self) -> None:
        """Raise if the work must stop.

        Raises:
            AttemptStoppedError: with the reason.
        """
        reason = self.reason()
        if reason is not None:
            raise AttemptStoppedError(reason)

    def check_next_picture(self, *, has_made_one: bool = False) -> None:
        """Raise if no further picture may be begun.

        Who yields has made one before: else a job could be handed about, loading its model each
        time, and never get anywhere.

        Raises:
            AttemptStoppedError: with the reason.
        """
        self.check()
        reason = self._last_picture
        if reason is not None and (has_made_one or reason is not Stop.YIELDED):
            raise AttemptStoppedError(reason)


class HeldAttempts:
    """All held attempts, and the last ones that were: a message may come more than once."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._is_draining = False
        self._changed = threading.Condition()

    def take(self, attempt_id: str, fence: int) -> Held | None:
        """Take an attempt in hand; None if that was done before or the agent is leaving."""
        with self._changed:
            if self._is_draining or (attempt_id, fence) in self._seen or attempt_id in self._held:
                return None
            self._seen[attempt_id, fence] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            held = Held(attempt_id, fence)
            self._held[attempt_id] = held
            return held

    def refuses(self, attempt_id: str, fence: int) -> bool:
        """True if this agent takes nothing more, and this attempt is none it ever had."""
        with self._changed:
            is_new = (attempt_id, fence) not in self._seen and attempt_id not in self._held
            return self._is_draining and is_new

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._is_draining = True

    def reopen(self) -> None:
        """Take attempts again."""
        with self._changed:
            self._is_draining = False

    def drop(self, held: Held, *, forget: bool = False) -> None:
        """Put an attempt down; `forget` if it was never claimed and may come again."""
        with self._changed:
            self._held.pop(held.attempt_id, None)
            if forget:
                self._seen.pop((held.attempt_id, held.fence), None)
            self._changed.notify_all()

    def list(self) -> tuple[HeldAttempt, ...]:
        """For the heartbeat: those that are claimed."""
        return tuple(
            HeldAttempt(attempt_id=held.attempt_id, fence=held.fence)
            for held in self._snapshot()
            if held.is_claimed
        )

    def stop(self, attempt_ids: Iterable[str], reason: Stop) -> None:
        """Stop attempts; unknown ones are none of ours."""
        wanted = set(attempt_ids)
        for held in self._snapshot():
            if held.attempt_id in wanted:
                held.stop(reason)

    def yield_after_picture(self, attempt_ids: Iterable[str]) -> None:
        """Hand these back between two pictures; unknown ones are none of ours."""
        wanted = set(attempt_ids)
        for held in self._snapshot():
            if held.attempt_id in wanted:
                held.stop_after_picture(Stop.YIELDED)

    def renew(self, attempts: Iterable[HeldAttempt], sent_at: float) -> None:
        """The studio knows these as ours."""
        confirmed = {(attempt.attempt_id, attempt.fence) for attempt in attempts}
        for held in self._snapshot():
            if (held.attempt_id, held.fence) in confirmed:
                held.renew(sent_at)

    def drain(self, seconds: float) -> bool:
        """Take nothing more; let pictures in hand end for up to `seconds`. True if all ended."""
        self.close()
        for held in self._snapshot():
            held.stop_after_picture()
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout=seconds)

    def stop_all(self, seconds: float) -> bool:
        """Stop what is held, then wait up to `seconds` until it has been put down."""
        for held in self._snapshot():
            held.stop(Stop.DRAINED)
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout=seconds)

    def all(self) -> tuple[Held, ...]:
        """What is held now."""
        return self._snapshot()

    @property
    def is_idle(self) -> bool:
        """True if nothing is held."""
        return not self._snapshot()

    def _snapshot(self) -> tuple[Held, ...]:
        with self._changed:
            return tuple(self._held.values())
