"""The settings every process of the studio is started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from launcher.errors import LauncherError
from launcher.layout import Layout
from launcher.private import kept_secret, new_key, new_secret
from launcher.servers import RunningServers

AGENTS_MAX = 16
_FIXED = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DIFFUSERS_DISABLE_REMOTE_CODE": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "DJANGO_SETTINGS_MODULE": "studio.settings",
}


def studio_settings(
    layout: Layout, servers: RunningServers, environ: Mapping[str, str]
) -> dict[str, str]:
    """The studio's own variables; keys are made the first time. `environ` may name a store."""
    master, secret = layout.state / "master.key", layout.state / "secret.key"
    kept_secret(master, new_key)
    kept_secret(secret, new_secret)
    store = environ.get("STORAGE_URL") or (layout.state / "store").as_uri()
    reach = (
        {}
        if not store.startswith("file://")
        else {
            "STUDIO_AGENT_STORE_ROOT": unquote(urlsplit(store).path),
            "STUDIO_AGENT_MODELS_ROOT": unquote(urlsplit(store).path),
        }
    )
    return {
        **_FIXED,
        **reach,
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "STORAGE_URL": store,
        "STUDIO_STATE": str(layout.state),
        "STUDIO_MASTER_KEY_FILE": environ.get("STUDIO_MASTER_KEY_FILE") or str(master),
        "STUDIO_SECRET_KEY_FILE": environ.get("STUDIO_SECRET_KEY_FILE") or str(secret),
        "STUDIO_URL": environ.get("STUDIO_URL") or layout.url,
        "STUDIO_PORT": str(layout.port),
        "STUDIO_AGENTS": str(_agents(environ.get("STUDIO_AGENTS", ""))),
        "STUDIO_AGENT_CREDENTIALS": str(layout.state / "agent.json"),
        "STUDIO_AGENT_CACHE": str(layout.state / "agent-cache"),
    }


def agent_settings(env: Mapping[str, str]) -> list[dict[str, str]]:
    """What each agent of this machine has for itself, the first one first.

    Two never share credentials (they are one agent each) nor a cache (which one cleans up).
    """
    credentials = Path(env["STUDIO_AGENT_CREDENTIALS"])
    cache = Path(env["STUDIO_AGENT_CACHE"])
    others = range(2, int(env.get("STUDIO_AGENTS") or 1) + 1)
    return [
        {"STUDIO_AGENT_CREDENTIALS": str(credentials), "STUDIO_AGENT_CACHE": str(cache)},
        *(
            {
                "STUDIO_AGENT_CREDENTIALS": str(credentials.with_stem(f"{credentials.stem}-{n}")),
                "STUDIO_AGENT_CACHE": str(cache.with_name(f"{cache.name}-{n}")),
            }
            for n in others
        ),
    ]


def _agents(text: str) -> int:
    if not text:
        return 1
    if text.isascii() and text.isdigit() and 0 < int(text) <= AGENTS_MAX:
        return int(text)
    raise LauncherError(
        f"STUDIO_AGENTS is '{text}'; it must be a number from 1 to {AGENTS_MAX}: how many agents "
        "run on this machine."
    )
