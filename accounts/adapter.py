"""How allauth behaves here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from accounts.devices import describe_device
from accounts.models import IdentityProvider, User
from studio.core.mail import pretend_on_commit, send_on_commit
from studio.core.scoping import system_scope

RESET_MAIL_SESSION_KEY = "password_reset_mail"
SIGN_ON_CONNECTED = "sign_on/email/connected"
# What is told to a person by mail when it happens to their account, by allauth's name of it.
NOTICES: Mapping[str, str] = MappingProxyType(
    {
        "account/email/password_changed": "The password of your account was changed",
        "account/email/password_reset": "The password of your account was set anew by mail",
        "mfa/email/totp_activated": "An authenticator app was added to your account",
        "mfa/email/totp_deactivated": "The authenticator app was removed from your account",
        "mfa/email/webauthn_added": "A passkey was added to your account",
        "mfa/email/webauthn_removed": "A passkey was removed from your account",
        SIGN_ON_CONNECTED: "A company’s single sign-on was connected with your account",
        "mfa/email/recovery_codes_generated": "New recovery codes were made for your account",
    }
)


class ClosedSignupAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """People are invited by an admin; nobody signs up from outside."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_reset_password_from_key_url(self, key: str) -> str:
        """At the studio's own address, whatever host the request named."""
        uid, _, token = key.partition("-")
        names = {"uidb36": uid, "key": token}
        path = reverse("account_reset_password_from_key", kwargs=names)
        return settings.STUDIO_URL.rstrip("/") + path

    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        if user.has_usable_password() or _is_stranded(user):
            url = {"url": context["password_reset_url"]}
            self._note_reset(send_on_commit("password_reset", user.email, url))
        else:  # they come by single sign-on
            self._pretend_reset()

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Whatever allauth wants to say, in our words; nothing is said to strangers."""
        if template_prefix == "account/email/unknown_account":
            self._pretend_reset()
            return
        values = {
            "what": NOTICES[template_prefix],
            "when": context["timestamp"],
            "address": context["ip"],
            "device": describe_device(context["user_agent"]),
            "url": settings.STUDIO_URL.rstrip("/") + reverse("security"),
        }
        send_on_commit("account_changed", email, values)

    def _pretend_reset(self) -> None:
        url = self.get_reset_password_from_key_url(f"usr_{'0' * 26}-{'0' * 39}")
        self._note_reset(pretend_on_commit("password_reset", {"url": url}))

    def _note_reset(self, mail_id: str) -> None:
        self.request.session[RESET_MAIL_SESSION_KEY] = mail_id


def _is_stranded(user: User) -> bool:
    """A member somewhere whose single sign-on was removed, so that only the mailbox is left."""
    if user.is_service or not user.memberships.exists():
        return False
    known = list(SocialAccount.objects.filter(user=user).values_list("provider", flat=True))
    with system_scope():
        return not IdentityProvider.objects.filter(pk__in=known).exists()
