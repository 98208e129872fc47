"""What tests need of the system, from Debian's packages: Chromium, and libraries to draw with."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from launcher.console import Console
from launcher.errors import LauncherError

# Libraries by the Debian package that has them.
_DRAWING = {"libEGL.so.1": "libegl1", "libGL.so.1": "libgl1"}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The path of a Chromium on this machine, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def ensure_chromium(console: Console) -> str:
    """The path of a Chromium; as root on Debian it is installed when there is none."""
    if found := find_chromium():
        return found
    packages = ("chromium", "fonts-liberation")
    _install(console, "The browser tests need", ["Chromium"], packages)
    if found := find_chromium():
        return found
    raise LauncherError("apt-get installed Chromium, but no `chromium` is on the PATH.")


def ensure_drawing_libraries(console: Console) -> None:
    """Libraries that Skia loads before it draws anything, though our drawings never use them.

    Skia for other systems than Linux needs neither.
    """
    if sys.platform != "linux":
        return
    missing = [package for library, package in _DRAWING.items() if not _loads(library)]
    if missing:
        _install(console, "Drawing with Skia needs", missing, missing)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _install(
    console: Console, who_needs: str, things: Sequence[str], packages: Sequence[str]
) -> None:
    """Install the Debian packages that bring the things.

    Raises:
        LauncherError: this is no Debian, we are not root, or apt-get failed.
    """
    need = f"{who_needs} {' and '.join(things)}"
    them = "it" if len(things) == 1 else "them"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LauncherError(
            f"{need}, not found here. Install {them}, for example with "
            f"`sudo apt install {' '.join(packages)}`, and run the command again."
        )
    console.say(f"      {need}: installing Debian's packages")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    for argv in (["apt-get", "update"], install):
        if subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, check=False).returncode:
            raise LauncherError(
                f"`{' '.join(argv)}` failed; the lines above say why. Install "
                f"{' and '.join(packages)} by hand and run the command again."
            )
