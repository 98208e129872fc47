"""Logging: one line of `key=value` per event, metadata only. Never prompts, keys or tokens."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

from typing_extensions import override

_log = logging.getLogger("gpuagent")


def configure_logging() -> None:
    """Log to stderr; other libraries only when they warn, and never what their exceptions say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    sys.excepthook = _on_exception
    threading.excepthook = _on_thread_exception


def log_event(event: str, **fields: object) -> None:
    """Log an event."""
    _log.info("%s", _line(event, fields))


def log_trouble(event: str, **fields: object) -> None:
    """Log something that a person may want to look at."""
    _log.warning("%s", _line(event, fields))


def _line(event: str, fields: dict[str, object]) -> str:
    return " ".join([event, *(f"{name}={_short(value)}" for name, value in fields.items())])


def _short(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if text and not any(c.isspace() for c in text) else repr(text)


class _Formatter(logging.Formatter):
    """Names an exception's class only: messages and tracebacks may quote what was asked for."""

    @override
    def formatException(  # the name is logging's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        return "" if ei[0] is None else f"exception={ei[0].__name__}"

    @override
    def formatStack(self, _stack: str) -> str:  # as above
        return ""


def _on_exception(
    kind: type[BaseException], _error: BaseException, _trace: TracebackType | None
) -> None:
    log_trouble("process.crashed", exception=kind.__name__)


def _on_thread_exception(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else "?"
    log_trouble("thread.crashed", thread=name, exception=crash.exc_type.__name__)
