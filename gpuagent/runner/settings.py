"""What the environment tells the agent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")
# Pictures of different jobs made at once. Measured on a CPU with the house model, 128 x 128, one
# thread: 2 make 1.5 times as many pictures a second, 4 make 1.8 times, 8 make 1.9 times.
BATCH = 4
SPOT_KINDS = ("aws", "gcp", "azure")


class SettingsInvalidError(ValueError):
    """A variable is missing or cannot be read; names it and says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who this agent is: a JSON file that `join` or `manage.py prepare` wrote.

    `agent_id`, `token` and `namespace` must be in it; the rest is what the environment may say too.
    """

    agent_id: str
    token: str = field(repr=False)
    namespace: str
    redis_url: str = field(default="", repr=False)
    studio_url: str = ""
    device: str = ""
    labels: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """Read the credentials file."""
        try:
            raw = json.loads(path.read_text())
            return cls(
                agent_id=str(raw["agent_id"]),
                token=str(raw["token"]),
                namespace=str(raw["namespace"]),
                redis_url=str(raw.get("redis_url") or ""),
                studio_url=str(raw.get("studio_url") or ""),
                device=str(raw.get("device") or ""),
                labels=tuple(str(label) for label in raw.get("labels") or ()),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsInvalidError(
                "STUDIO_AGENT_CREDENTIALS must name a JSON file with agent_id, token and namespace "
                f"({type(error).__name__})"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The agent's configuration; `from_env` names the variables.

    Without `redis_url` the studio is asked for it. None for a size: what the machine has decides.
    """

    studio_url: str
    redis_url: str = field(repr=False)
    credentials: Credentials
    cache: Path
    cache_bytes: int | None
    host_cache_bytes: int | None
    store_root: Path | None
    models_root: Path | None
    ca_file: Path | None
    device: str
    labels: tuple[str, ...]
    threads: int | None
    batch: int
    memory_limit_bytes: int | None
    heartbeat_seconds: float
    drain_seconds: float
    spot: str
    runtime_image: str
    metrics: tuple[str, int] | None
    metrics_token: str = field(repr=False)

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check all variables.

        Raises:
            SettingsInvalidError: names the variable and what it accepts.
        """
        path = credentials_path(environment)
        is_named = bool(environment.get("STUDIO_AGENT_CREDENTIALS"))
        url = environment.get("STUDIO_URL") or _url_of(path)
        if not url:
            raise SettingsInvalidError("STUDIO_URL is not set")
        if not url.startswith(("http://", "https://")):
            raise SettingsInvalidError("STUDIO_URL must begin with http:// or https://")
        if not is_named and not path.exists():
            raise SettingsInvalidError(
                f"STUDIO_AGENT_CREDENTIALS is not set, and there is no {path}. "
                "Run `python -m gpuagent join` first."
            )
        credentials = Credentials.read(path)
        labels = environment.get("STUDIO_AGENT_LABELS", "")
        return cls(
            studio_url=url.rstrip("/"),
            redis_url=environment.get("REDIS_URL") or credentials.redis_url,
            credentials=credentials,
            cache=_folder(environment, "STUDIO_AGENT_CACHE") or _cache_of(credentials, environment),
            cache_bytes=_integer(environment, "STUDIO_AGENT_CACHE_BYTES"),
            host_cache_bytes=_integer(environment, "STUDIO_AGENT_HOST_CACHE_BYTES", least=0),
            store_root=_folder(environment, "STUDIO_AGENT_STORE_ROOT"),
            models_root=_folder(environment, "STUDIO_AGENT_MODELS_ROOT"),
            ca_file=_file(environment, "STUDIO_AGENT_CA_FILE"),
            device=device_of(environment.get("STUDIO_AGENT_DEVICE") or credentials.device),
            labels=split_labels(labels) or credentials.labels,
            threads=_integer(environment, "STUDIO_AGENT_THREADS"),
            batch=_integer(environment, "STUDIO_AGENT_BATCH") or BATCH,
            memory_limit_bytes=_integer(environment, "STUDIO_AGENT_MEMORY_BYTES"),
            heartbeat_seconds=_seconds(environment, "STUDIO_HEARTBEAT_SECONDS", 5.0),
            drain_seconds=_seconds(environment, "STUDIO_AGENT_DRAIN_SECONDS", 10.0),
            spot=_one_of(environment, "STUDIO_AGENT_SPOT", SPOT_KINDS),
            runtime_image=environment.get("STUDIO_RUNTIME_IMAGE") or "local",
            metrics=_listening(environment),
            metrics_token=environment.get("STUDIO_METRICS_TOKEN", "").strip(),
        )


def credentials_path(environment: Mapping[str, str]) -> Path:
    """Where the credentials lie, or will lie after `join`."""
    named = environment.get("STUDIO_AGENT_CREDENTIALS")
    if named:
        return Path(named)
    folder = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "studio" / "agent.json"


def device_of(text: str) -> str:
    """A checked name of a device; empty: the first GPU if there is one, else the CPU."""
    if text and not _DEVICE.fullmatch(text):
        raise SettingsInvalidError("STUDIO_AGENT_DEVICE must be cpu, cuda or cuda: and a number")
    return text


def split_labels(text: str) -> tuple[str, ...]:
    """Labels from words with commas between."""
    return tuple(dict.fromkeys(label.strip().lower() for label in text.split(",") if label.strip()))


def _listening(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Where to answer how the agent is; to others than this machine only with a token."""
    name, value = "STUDIO_AGENT_METRICS", environment.get("STUDIO_AGENT_METRICS", "").strip()
    if not value:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise SettingsInvalidError(f"{name} must be like 127.0.0.1:9103")
    host = host.strip("[]")
    if (
        host not in ("127.0.0.1", "::1", "localhost")
        and not environment.get("STUDIO_METRICS_TOKEN", "").strip()
    ):
        raise SettingsInvalidError(
            f"{name} is {value}, where others can ask, and STUDIO_METRICS_TOKEN is not set"
        )
    return host, int(port)


def _url_of(path: Path) -> str:
    return Credentials.read(path).studio_url if path.exists() else ""


def _cache_of(credentials: Credentials, environment: Mapping[str, str]) -> Path:
    """A cache folder of this agent's own: no two processes may share one."""
    folder = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (folder / "studio-agent" / credentials.agent_id).absolute()


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    return Path(value).absolute() if value else None


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    path = _folder(environment, name)
    if path is not None and not path.is_file():
        raise SettingsInvalidError(f"{name} must name a file")
    return path


def _one_of(environment: Mapping[str, str], name: str, accepted: tuple[str, ...]) -> str:
    value = environment.get(name, "")
    if value and value not in accepted:
        raise SettingsInvalidError(f"{name} must be one of {', '.join(accepted)}, or empty")
    return value


def _integer(environment: Mapping[str, str], name: str, *, least: int = 1) -> int | None:
    value = environment.get(name)
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise SettingsInvalidError(f"{name} must be a whole number, at least {least}")
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
