"""The commands of `python3 -m launcher`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from launcher.checks import check_python, disk_full
from launcher.console import Console
from launcher.errors import LauncherError
from launcher.layout import Layout
from launcher.locks import write_locks
from launcher.once import print_environment, run_command
from launcher.testrun import run_tests
from launcher.up import up

INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Run one command; every expected fault becomes one sentence and exit code 1."""
    own, rest = list(argv), list[str]()
    if own[:1] in (["test"], ["run"]):  # what follows belongs to pytest, or to the command
        own, rest = own[:1], own[1:]
    arguments = _parser().parse_args(own)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        check_python((sys.version_info.major, sys.version_info.minor))
        return _dispatch(arguments, rest)
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"\n{disk_full(Layout.from_environment(os.environ).state)}", file=sys.stderr)
    return 1


def _dispatch(arguments: argparse.Namespace, rest: list[str]) -> int:
    layout = Layout.from_environment(os.environ)
    rest = rest[1:] if rest[:1] == ["--"] else rest
    if arguments.command == "up":
        return up(layout, Console())
    if arguments.command == "test":
        return run_tests(layout, Console(), rest)
    if arguments.command == "run":
        return run_command(layout, Console(sys.stderr), rest)
    if arguments.command == "env":
        return print_environment(layout)
    write_locks(layout, Console(), upgrade=arguments.upgrade)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m launcher", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the studio and stay until Ctrl-C")
    commands.add_parser("test", help="run every check; with arguments, pytest with these")
    commands.add_parser("run", help="run -- CMD: run CMD with the studio's servers and settings")
    commands.add_parser("env", help="print the settings of the running studio as KEY=VALUE")
    lock = commands.add_parser("lock", help="write requirements/*.lock from requirements/*.in")
    lock.add_argument("--upgrade", action="store_true", help="take the newest versions")
    return parser


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
