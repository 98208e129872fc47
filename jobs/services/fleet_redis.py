"""How an agent reaches Redis."""

from __future__ import annotations

from django.conf import settings

from jobs.models import Agent


def redis_url_for(agent: Agent) -> str | None:
    """The address that an agent which has just joined connects to: that of the web side."""
    return settings.REDIS_URL
