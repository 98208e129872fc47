"""Chromium for the browser tests, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess

from launcher.console import Console
from launcher.errors import LauncherError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The path of a Chromium on this machine, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def ensure_chromium(console: Console) -> str:
    """The path of a Chromium; as root on Debian it is installed when there is none."""
    if found := find_chromium():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LauncherError(
            "The browser tests need Chromium and none was found. Install it, for example with "
            "`sudo apt install chromium`, and run the command again."
        )
    console.say("      no Chromium here: installing Debian's package")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    for argv in (["apt-get", "update"], [*install, "fonts-liberation"]):
        if subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, check=False).returncode:
            raise LauncherError(
                f"`{' '.join(argv)}` failed; the lines above say why. Install Chromium by hand "
                "and run the command again."
            )
    if found := find_chromium():
        return found
    raise LauncherError("apt-get installed Chromium, but no `chromium` is on the PATH.")
