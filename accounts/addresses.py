"""Where requests come from. Imported by the API framework while it loads, so it imports little."""

from __future__ import annotations

from ipaddress import ip_address

from django.http import HttpRequest
from rest_framework.request import Request


def client_address(request: HttpRequest | Request) -> str:
    """The client's network address, empty if unknown; a trusted proxy's server has put it there."""
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR") or ""))
    except ValueError:
        return ""
