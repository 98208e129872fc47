"""Addresses of the sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import path

from jobs.agent_socket import AgentConsumer
from jobs.consumers import WorkspaceConsumer

agent_patterns = [path("agent/v1/socket", AgentConsumer.as_asgi())]


def browser_patterns(guard: Callable[[Any], Any]) -> list[Any]:
    """The browser's sockets, each behind `guard` (origin check, session)."""
    return [path("ws/w/<str:workspace_id>/", guard(WorkspaceConsumer.as_asgi()))]
