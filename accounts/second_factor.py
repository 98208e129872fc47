"""The second factor: what allauth keeps for it lies sealed under the master key.

Its rows belong to a person, not to an organization: one authenticator app opens every organization
that the person is a member of.
"""

from __future__ import annotations

import base64
import ipaddress
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from accounts.models import User
from gpuagent.protocol.sealing import Context, SealBrokenError
from studio.core.keys import open_with_master, rewrap_sealed_with_master, seal_with_master

_CONTEXT = Context(organization="", object_id="", kind="second_factor")
_SECRETS = ("secret", "seed")
# Recovery codes alone are none: they stand in for one that was lost.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def seal_secret(text: str) -> str:
    """A secret as it lies in a text column."""
    return base64.b64encode(seal_with_master(text.encode(), context=_CONTEXT)).decode()


def open_secret(sealed: str) -> str:
    """What `seal_secret` sealed.

    Raises:
        SealBrokenError: it was sealed under a master key that is not among ours.
    """
    return open_with_master(_bytes(sealed), context=_CONTEXT).decode()


def has_second_factor(user_id: str) -> bool:
    """Whether a password alone does not let this person in."""
    return bool(Authenticator.objects.filter(user_id=user_id, type__in=FACTORS).exists())


def rewrap_secrets() -> int:
    """Put all of them under the first master key; how many rows were under another."""
    changed = 0
    for pk in Authenticator.objects.order_by("pk").values_list("pk", flat=True).iterator():
        with transaction.atomic():
            row = Authenticator.objects.select_for_update().filter(pk=pk).first()
            fresh = row and _rewrapped(row.data)
            if fresh:
                changed += Authenticator.objects.filter(pk=pk).update(data={**row.data, **fresh})
    return changed


def _rewrapped(data: dict[str, Any]) -> dict[str, str]:
    fresh = {}
    for name in _SECRETS:
        # What none of the keys opens is lost to its owner before this and after it alike.
        with suppress(SealBrokenError):
            moved = rewrap_sealed_with_master(_bytes(data[name])) if name in data else None
            if moved is not None:
                fresh[name] = base64.b64encode(moved).decode()
    return fresh


def _bytes(sealed: str) -> bytes:
    try:
        return base64.b64decode(sealed, validate=True)
    except ValueError as error:
        raise SealBrokenError("this is not base64") from error


def passkey_host() -> str:
    """The name that passkeys are bound to; browsers bind them to names, not to addresses."""
    host = urlsplit(settings.STUDIO_URL).hostname or ""
    return "localhost" if host in settings.LOOPBACK else host


def can_use_passkeys(request: HttpRequest) -> bool:
    """Whether this browser would make one at the address it asks."""
    host = request.get_host().partition(":")[0]
    is_safe = request.is_secure() or host == "localhost"
    return is_safe and not _is_address(host) and host == passkey_host()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth ships no types
    """How allauth's second factors behave here."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "That did not match. Take the code that is shown now, or try again.",
    }

    def encrypt(self, text: str) -> str:
        return seal_secret(text)

    def decrypt(self, encrypted_text: str) -> str:
        return open_secret(encrypted_text)

    def build_totp_svg(self, url: str) -> str:
        """A drawing without an XML head, to stand in the page: its policy allows no `data:`."""
        text: str = super().build_totp_svg(url)
        return text[text.index("<svg") :]

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {"id": passkey_host(), "name": settings.MFA_TOTP_ISSUER}

    def generate_authenticator_name(self, user: User, type: str) -> str:
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}"
