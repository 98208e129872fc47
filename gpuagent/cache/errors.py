"""The one exception that ends an attempt: a code and data, never content."""

from __future__ import annotations

import errno

from gpuagent.protocol.failures import FailureCode

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class AttemptFailedError(Exception):
    """The attempt cannot go on; `data` holds sizes and names of settings, no prompt, no key."""

    def __init__(self, code: FailureCode, **data: object) -> None:
        super().__init__(code.value)
        self.code = code
        self.data = data


def is_disk_full(error: OSError) -> bool:
    """True if the operating system had no room left."""
    return error.errno in _NO_ROOM


def store_failed(error: OSError) -> AttemptFailedError:
    """The failure of a write to disk."""
    reason = "disk full" if is_disk_full(error) else type(error).__name__
    return AttemptFailedError(FailureCode.STORE_FAILED, reason=reason)
