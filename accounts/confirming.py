"""Asking somebody who is signed in whether it is still them, before what cannot be taken back."""

from __future__ import annotations

from urllib.parse import urlencode

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest

# By what allauth knows who asks; its own rooms have other names.
_APP = "studio"


def confirm_url(request: HttpRequest) -> str:
    """Where they say their password or touch their key and come back; empty if they just did."""
    if not is_reauthentication_required(request, app=_APP):
        return ""
    ways = get_adapter().get_reauthentication_methods(request.user)
    return f"{ways[0]['url']}?{urlencode({'next': request.get_full_path()})}" if ways else ""


def require_confirmed(request: HttpRequest) -> None:
    """Go on only if they did so in the last minutes.

    Raises:
        ReauthenticationRequired: not lately; allauth asks, and then sends the request once more.
    """
    if confirm_url(request):
        raise ReauthenticationRequired
