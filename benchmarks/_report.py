"""What a benchmark prints: progress for people, and one last line for programs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from types import FrameType

Figure = float | int | str | Mapping[str, object] | None


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def finish(figures: Mapping[str, Figure]) -> None:
    """The figures as one flat JSON object: the last line of standard output."""
    shown = {key: round(v, 4) if isinstance(v, float) else v for key, v in figures.items()}
    print(json.dumps(shown), flush=True)


def milliseconds_p50(seconds: Sequence[float]) -> float:
    """The median in milliseconds."""
    return round(median(seconds) * 1000, 1)


def load() -> float:
    """Processes that wanted a core during the last minute: above 0 before we start is noise."""
    return round(os.getloadavg()[0], 2)


def clean_up_on_signals() -> None:
    """Let `finally` run when somebody stops the benchmark."""

    def stop(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
