"""What a session may not do that came by an identity provider alone.

Whoever runs the provider can sign in as each of its people. That must not become more than the
provider's own organization: no password, no passkey and no new organization can be had from there.
An authenticator app can, if the account is the provider's alone: it is only ever a second step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from accounts.models import Membership, User
from accounts.policy import Ways, reachable_organizations, ways_of

CLOSED = frozenset(
    {
        "account_change_password",
        "mfa_add_webauthn",
        "mfa_edit_webauthn",
        "mfa_remove_webauthn",
        "organization-new",
    }
)
SECOND_STEP = frozenset(
    {
        "mfa_activate_totp",
        "mfa_deactivate_totp",
        "mfa_view_recovery_codes",
        "mfa_generate_recovery_codes",
        "mfa_download_recovery_codes",
    }
)
SENTENCE = "You came in by your company's single sign-on. This is open to you after a sign-in here."


def belongs_to(user: User, ways: Ways) -> bool:
    """Whether nobody but these providers has a say in the account."""
    if user.has_usable_password():
        return False
    others = SocialAccount.objects.filter(user=user).exclude(provider__in=ways.provider_ids)
    return not others.exists()


def is_closed(request: HttpRequest, name: str) -> bool:
    """Whether this page guards more than the session stands for."""
    if name not in CLOSED | SECOND_STEP or not isinstance(request.user, User):
        return False
    ways = ways_of(request.session, request.user.pk)
    if ways.is_local:
        return False
    reached = reachable_organizations(request.session, request.user.pk) or frozenset()
    elsewhere = Membership.objects.filter(user=request.user).exclude(organization_id__in=reached)
    is_theirs = belongs_to(request.user, ways) and not elsewhere.exists()
    return name in CLOSED or not is_theirs


class SignOnMiddleware:
    """Turns such sessions away from such pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: object, _args: list[Any], _kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is None or not is_closed(request, match.url_name or ""):
            return None
        messages.warning(request, SENTENCE)
        return redirect("security")
