"""Exceptions to failure codes. Of an unforeseen one only the class name is told."""

from __future__ import annotations

import errno

from gpuagent.cache.errors import AttemptFailedError, is_disk_full
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import AttemptError
from gpuagent.protocol.recipe import RecipeInvalidError
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner.client import StudioUnreachableError

_ALLOCATION_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    # What oneDNN says when it gets none.
    "could not create a memory",
    "could not create a primitive",
    "could not execute a primitive",
    "can't start new thread",  # no memory for its stack; loaders use threads
)


def is_out_of_memory(error: BaseException) -> bool:
    """True if memory, of the device or of the host, ran out.

    Loaders answer a failure with another that says less, so what came before counts as well.
    """
    found: BaseException | None = error
    while found is not None:
        if _is_shortage(found):
            return True
        found = found.__cause__ or found.__context__
    return False


def _is_shortage(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # By name: this module must import neither torch nor safetensors to look at an exception.
    if not isinstance(error, RuntimeError) and type(error).__name__ != "SafetensorError":
        return False
    text = str(error).lower()
    return type(error).__name__ == "OutOfMemoryError" or any(w in text for w in _ALLOCATION_WORDS)


def is_device_failure(error: BaseException) -> bool:
    """True if the GPU itself failed: nothing that this process asks of it will work again."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


def attempt_error(
    error: BaseException, *, needed_bytes: int = 0, available_bytes: int = 0
) -> AttemptError:
    """What the studio is told about an exception."""
    if isinstance(error, AttemptFailedError):
        return AttemptError(code=error.code, data=dict(error.data))
    if isinstance(error, RecipeInvalidError):
        fields = [f"{problem.field}:{problem.code}" for problem in error.problems]
        return AttemptError(code=FailureCode.RECIPE_INVALID, data={"problems": fields})
    if is_out_of_memory(error):
        sizes = {"needed_bytes": needed_bytes, "available_bytes": available_bytes}
        return AttemptError(code=FailureCode.OUT_OF_MEMORY, data=dict(sizes))
    if is_device_failure(error):
        return AttemptError(code=FailureCode.AGENT_LOST, data={"reason": "gpu failed"})
    if isinstance(error, StudioUnreachableError):
        return AttemptError(code=FailureCode.STORE_FAILED, data={"reason": str(error)})
    if isinstance(error, OSError) and is_disk_full(error):
        return AttemptError(code=FailureCode.STORE_FAILED, data={"reason": "disk full"})
    if isinstance(error, MessageInvalidError):
        return AttemptError(code=FailureCode.RECIPE_INVALID, data={"reason": "message"})
    return AttemptError(code=FailureCode.INTERNAL, data={"exception": type(error).__name__})
