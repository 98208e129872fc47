"""The company sign-on that this browser used last: offered on the sign-in page."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from accounts.models import IdentityProvider
from accounts.sign_on.providers import find_provider
from studio.core.errors import NotFoundError

COOKIE = "sign_on"
SECONDS = 365 * 24 * 3_600


def remember(response: HttpResponseBase, row: IdentityProvider) -> HttpResponseBase:
    """Keep the provider's id in the browser: no secret, and nothing of the person."""
    response.set_cookie(
        COOKIE,
        row.pk,
        max_age=SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


def remembered(request: HttpRequest) -> IdentityProvider | None:
    """The provider, if it is still there and on."""
    provider_id = request.COOKIES.get(COOKIE, "")
    if not provider_id:
        return None
    try:
        return find_provider(provider_id)
    except NotFoundError:
        return None
