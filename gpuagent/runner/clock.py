"""The clock that leases are judged by: it never jumps, and runs on while the machine sleeps."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since some moment. No wall clock: that may be wrong, and be put right at any time.

    Linux's monotonic clock stands still while a machine is suspended; its leases run out though.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
