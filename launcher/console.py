"""What a person sees: numbered steps, live progress, and prefixed lines of the processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

NAME_WIDTH = 10
_COLOURS = ("36", "35", "33", "32", "34", "96")
_QUIET_INTERVAL_S = 5.0


class Console:
    """Writes for people; colours and rewritten lines only on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty()
        self._colour = self._tty and "NO_COLOR" not in os.environ
        self._colours: dict[str, str] = {}
        self._live = False
        self._last_progress = 0.0
        self._step = 0
        self.steps = 0

    def say(self, text: str = "") -> None:
        self._write(self._clear() + text + "\n")

    def heading(self, text: str) -> None:
        self.say()
        self.say(self._paint("1", f"== {text}"))

    def line(self, name: str, text: str) -> None:
        """One log line of the process called `name`."""
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        self.say(f"{self._paint(colour, f'{name:<{NAME_WIDTH}} |')} {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a numbered step and, when it went well, how long it took."""
        self._step += 1
        label = f"[{self._step}/{self.steps}] {title}" if self.steps else title
        started = self._last_progress = time.monotonic()
        self.say(self._paint("1", label))
        yield
        self.say(f"      done in {time.monotonic() - started:.1f} s")

    def progress(self, text: str, elapsed_s: float) -> None:
        """Show that a long step is alive: rewritten in place, or now and then in a log."""
        shown = f"      {elapsed_s:4.0f} s  {text}"
        if self._tty:
            self._write(self._clear() + shown[:110])
            self._live = True
        elif time.monotonic() - self._last_progress >= _QUIET_INTERVAL_S:
            self._last_progress = time.monotonic()
            self.say(shown)

    def _clear(self) -> str:
        was_live, self._live = self._live, False
        return "\r\x1b[K" if was_live else ""

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
        except OSError:
            # The terminal or the pipe is gone. The processes matter more than their log.
            self._stream = open(os.devnull, "w")  # noqa: SIM115, PTH123 - lives as long as we do
