"""Where requests come from. Imported by the API framework while it loads, so it imports little."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request


def client_address(request: HttpRequest | Request) -> str:
    """The client's network address; behind a trusted proxy the server has put it there."""
    return str(request.META.get("REMOTE_ADDR") or "")
