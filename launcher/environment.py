"""The settings every process of the studio is started with."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from launcher.layout import Layout
from launcher.private import kept_secret, new_key, new_secret
from launcher.servers import RunningServers

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
        "STUDIO_AGENT_DEVICES": environ.get("STUDIO_AGENT_DEVICES") or "",
        "STUDIO_AGENT_CREDENTIALS": str(layout.state / "agent.json"),
        "STUDIO_AGENT_CACHE": str(layout.state / "agent-cache"),
    }
