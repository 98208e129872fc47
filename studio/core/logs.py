"""What an error that nobody expected tells the log: where and of which kind, not with which values.

The message of a stranger's exception may hold anything: `int()` quotes what it was given, and
PostgreSQL the row that it refused.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType

from typing_extensions import override

_Info = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_CODES = ("sqlstate", "errno", "code")


class LineFormatter(logging.Formatter):
    """Writes traces with the names of exceptions and their codes, without their messages."""

    @override
    def formatException(self, ei: _Info) -> str:
        """The chain of exceptions, the first cause on top."""
        return "\n".join(_told(error) for error in _chain(ei[1]))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    yield from reversed(found)


def _told(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    codes = (getattr(error, name, None) for name in _CODES)
    code = next((code for code in codes if isinstance(code, str | int)), None)
    return f"Traceback (most recent call last):\n{frames}{kind}" + (f" [{code}]" if code else "")
