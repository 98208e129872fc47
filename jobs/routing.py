"""Addresses of the sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path, re_path

from jobs.agent_socket import AgentConsumer
from jobs.consumers import WorkspaceConsumer


class NoConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """Every other address. Without it the router would raise, with the address in the log."""

    declared_permission = "nobody"

    async def connect(self) -> None:
        """Refuse: 403, before the socket is open."""
        await self.close()


agent_patterns = [path("agent/v1/socket", AgentConsumer.as_asgi())]


def browser_patterns(guard: Callable[[Any], Any]) -> list[Any]:
    """The browser's sockets, each behind `guard` (origin check, session)."""
    return [path("ws/w/<str:workspace_id>/", guard(WorkspaceConsumer.as_asgi()))]


no_patterns = [re_path(r"", NoConsumer.as_asgi())]
