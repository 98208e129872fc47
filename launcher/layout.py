"""Where things lie: the repository, its virtual environment and the state folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one installation and the port it answers on."""

    root: Path
    state: Path
    port: int

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def requirements(self) -> Path:
        return self.root / "requirements"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, root: Path = REPOSITORY) -> Layout:
        """Read STUDIO_STATE and STUDIO_PORT, with their defaults."""
        state = Path(environ.get("STUDIO_STATE") or root / ".state").expanduser()
        return cls(root=root, state=state.absolute(), port=_port(environ.get("STUDIO_PORT", "")))

    def site_packages(self) -> Path:
        """The folder the wheels were unpacked into."""
        for folder in sorted(self.venv.glob("lib/python3*/site-packages")):
            return folder
        raise LauncherError(
            f"There is no virtual environment in {self.venv}. Run `make up` once to create it."
        )


def _port(text: str) -> int:
    if not text:
        return 8000
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise LauncherError(f"STUDIO_PORT is '{text}'; it must be a number from 1 to 65535.")


def with_venv_first(environ: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """A copy of `environ` in which commands of the virtual environment are found first."""
    path = os.pathsep.join([str(layout.venv / "bin"), environ.get("PATH", os.defpath)])
    return {**environ, "VIRTUAL_ENV": str(layout.venv), "PATH": path}
