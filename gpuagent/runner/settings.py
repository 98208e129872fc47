"""What the environment tells the agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsInvalidError(ValueError):
    """A variable is missing or cannot be read; names it and says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who this agent is: `{"agent_id", "token", "namespace"}` in a file."""

    agent_id: str
    token: str = field(repr=False)
    namespace: str

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """Read the credentials file."""
        try:
            raw = json.loads(path.read_text())
            return cls(
                agent_id=str(raw["agent_id"]),
                token=str(raw["token"]),
                namespace=str(raw["namespace"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsInvalidError(
                "STUDIO_AGENT_CREDENTIALS must name a JSON file with agent_id, token and namespace "
                f"({type(error).__name__})"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The agent's configuration; `from_env` names the variables."""

    studio_url: str
    redis_url: str = field(repr=False)
    credentials: Credentials
    cache: Path
    store_root: Path | None
    models_root: Path | None
    threads: int | None
    memory_limit_bytes: int | None
    heartbeat_seconds: float
    drain_seconds: float
    runtime_image: str

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check all variables.

        Raises:
            SettingsInvalidError: names the variable and what it accepts.
        """
        url = _required(environment, "STUDIO_URL")
        if not url.startswith(("http://", "https://")):
            raise SettingsInvalidError("STUDIO_URL must begin with http:// or https://")
        return cls(
            studio_url=url.rstrip("/"),
            redis_url=_required(environment, "REDIS_URL"),
            credentials=Credentials.read(Path(_required(environment, "STUDIO_AGENT_CREDENTIALS"))),
            cache=Path(_required(environment, "STUDIO_AGENT_CACHE")).absolute(),
            store_root=_folder(environment, "STUDIO_AGENT_STORE_ROOT"),
            models_root=_folder(environment, "STUDIO_AGENT_MODELS_ROOT"),
            threads=_integer(environment, "STUDIO_AGENT_THREADS"),
            memory_limit_bytes=_integer(environment, "STUDIO_AGENT_MEMORY_BYTES"),
            heartbeat_seconds=_seconds(environment, "STUDIO_HEARTBEAT_SECONDS", 5.0),
            drain_seconds=_seconds(environment, "STUDIO_AGENT_DRAIN_SECONDS", 10.0),
            runtime_image=environment.get("STUDIO_RUNTIME_IMAGE") or "local",
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsInvalidError(f"{name} is not set")
    return value


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    return Path(value).absolute() if value else None


def _integer(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name)
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise SettingsInvalidError(f"{name} must be a whole number above 0")
    return int(value)


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name)
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 3600:
        raise SettingsInvalidError(f"{name} must be seconds, more than 0 and under an hour")
    return seconds
