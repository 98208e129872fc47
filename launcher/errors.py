"""The one error the launcher shows to people."""

from __future__ import annotations


class LauncherError(Exception):
    """Raised when the launcher cannot go on; its text is a sentence that says what to do.

    It is printed without a traceback and ends the command with exit code 1.
    """


class CommandFailed(LauncherError):
    """Raised when a command the launcher ran ended with an error."""

    def __init__(self, sentence: str, *, code: int, output: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.output = output
