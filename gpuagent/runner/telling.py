"""What is asked and told of an attempt: its work at the beginning, how it ended at the end."""

from __future__ import annotations

import time

from gpuagent.protocol.messages import Assignment, AttemptError, AttemptFinish, Claim
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner import clock
from gpuagent.runner.client import (
    WHILE_LEASED,
    StaleError,
    StudioClient,
    StudioUnreachableError,
    persist,
)
from gpuagent.runner.failures import attempt_error
from gpuagent.runner.held import AttemptStoppedError, Held, Stop
from gpuagent.runner.work import Timings


class Teller:
    """Talks to the studio about attempts. All methods may be called from any thread."""

    def __init__(self, client: StudioClient, boot_id: str) -> None:
        self._client = client
        self._boot_id = boot_id

    def claim(self, held: Held, timings: Timings) -> Assignment | None:
        """The work of an attempt; None if it is not ours, or will be sent again."""
        began, sent_at = time.monotonic(), clock.now()
        message = Claim(fence=held.fence, boot_id=self._boot_id)
        try:
            assignment = persist(
                lambda: self._client.claim(held.attempt_id, message), check=held.check
            )
        except (StaleError, StudioUnreachableError, AttemptStoppedError):
            return None
        except MessageInvalidError as error:
            self.finish(held, "failed", attempt_error(error), timings)
            return None
        held.lease(sent_at, assignment.lease_seconds)
        timings.measure("claim", began)
        return assignment

    def finish(self, held: Held, status: str, error: AttemptError | None, timings: Timings) -> None:
        """How it ended. If that cannot be told, the attempt is lost."""
        message = AttemptFinish(
            fence=held.fence, status=status, error=error, timings=timings.to_wire()
        )

        def check() -> None:
            if held.reason() is Stop.LOST:
                held.check()

        try:
            persist(
                lambda: self._client.finish(held.attempt_id, message),
                check=check,
                tries=WHILE_LEASED,
            )
        except (StaleError, StudioUnreachableError, AttemptStoppedError):
            held.stop(Stop.LOST)
