"""Telling the sockets of a workspace that something about it changed, once it has committed."""

from __future__ import annotations

from studio.core.doorbell import ring_on_commit


def workspace_group(workspace_id: str) -> str:
    """The channel-layer group of everyone who looks at a workspace."""
    return f"workspace.{workspace_id}"


def announce_access(workspace_id: str) -> None:
    """Who may look may be others now: each socket asks again, and closes if it may not stay."""
    ring_on_commit(workspace_group(workspace_id), {"type": "access.changed"})
