"""The agents of this machine: one, or one for each device that `STUDIO_AGENT_DEVICES` names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import LauncherError
from launcher.supervisor import ChildSpec

_GRACE_S = 15.0
_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")
# What the web side is told and an agent must not know: keys, and ways into all of the database,
# of Redis and of the store. Its own way to its own queue is in its credentials file.
_WEB_ONLY = (
    *("DATABASE_URL", "REDIS_URL", "STUDIO_AGENT_REDIS_URL"),
    *("STUDIO_MASTER_KEY", "STUDIO_SECRET_KEY", "AWS_", "EMAIL_"),
)


def devices(environ: Mapping[str, str]) -> list[str]:
    """One name for each agent; one that is empty lets the agent choose."""
    names = [name.strip() for name in environ.get("STUDIO_AGENT_DEVICES", "").split(",")]
    names = [name for name in names if name] or [""]
    for name in names:
        if name and not _DEVICE.fullmatch(name):
            raise LauncherError(
                f"STUDIO_AGENT_DEVICES names '{name}'; it takes cpu, cuda and cuda:NUMBER, "
                "with commas between."
            )
    return names


def agent_processes(python: str, env: Mapping[str, str]) -> list[ChildSpec]:
    """A process for each device, with credentials, a cache and a GPU of its own."""
    specs = []
    for number, device in enumerate(devices(env)):
        own = agent_env(env)
        for name in ("STUDIO_AGENT_CREDENTIALS", "STUDIO_AGENT_CACHE"):
            own[name] = numbered(env[name], number)
        if own.get("STUDIO_AGENT_METRICS"):
            own["STUDIO_AGENT_METRICS"] = next_port(own["STUDIO_AGENT_METRICS"], number)
        if device:
            own["STUDIO_AGENT_DEVICE"] = device
        title = "agent" if number == 0 else f"agent-{number}"
        specs.append(ChildSpec(title, [python, "-m", "gpuagent"], own, _GRACE_S))
    return specs


def agent_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what only the web side may know."""
    return {name: value for name, value in env.items() if not name.startswith(_WEB_ONLY)}


def next_port(address: str, number: int) -> str:
    """`127.0.0.1:9103` for the first agent, `:9104` for the second; what is no address, as it is:
    the agent says what is wrong with it.
    """
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + number}" if port.isdecimal() else address


def numbered(path: str, number: int) -> str:
    """`agent.json`, `agent-1.json`, …: as `manage.py prepare` names them too."""
    whole = Path(path)
    return path if number == 0 else str(whole.with_name(f"{whole.stem}-{number}{whole.suffix}"))
