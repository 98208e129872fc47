"""How an attempt ended, for the studio and for the log."""

from __future__ import annotations

from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, AttemptError
from gpuagent.runner.held import Stop
from gpuagent.runner.logs import log_event
from gpuagent.runner.work import Timings, Work


def status_of(reason: Stop) -> tuple[str, AttemptError | None]:
    """What the studio is told of an attempt that was stopped."""
    if reason is Stop.CANCELED:
        return "canceled", None
    if reason is Stop.YIELDED:
        return "canceled", AttemptError(code=FailureCode.YIELDED)
    return "failed", AttemptError(code=FailureCode.AGENT_LOST, data={"reason": reason.name.lower()})


def log_end(
    assignment: Assignment,
    work: Work | None,
    status: str,
    error: AttemptError | None,
    timings: Timings,
) -> None:
    """One line of codes and numbers."""
    recipe = work.recipe if work is not None else None
    log_event(
        "attempt.end",
        attempt=assignment.attempt_id,
        status=status,
        code=str(error.code) if error is not None else "-",
        size=f"{recipe.width}x{recipe.height}" if recipe is not None else "-",
        steps=recipe.num_inference_steps if recipe is not None else "-",
        pictures=len(work.finishing) if work is not None else 0,
        model=assignment.model.digest[:8],
        **timings.to_wire(),
    )
