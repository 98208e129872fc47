"""Signed, short-lived addresses of stored bytes, bound to the organization."""

from __future__ import annotations

import hashlib
import hmac
import time

from django.conf import settings
from django.urls import reverse

from workspaces.models import Artifact

_SALT = b"studio.media.v1"


def _signature(organization_id: str, artifact_id: str, expires: int) -> str:
    message = f"{organization_id}|{artifact_id}|{expires}".encode()
    key = hashlib.sha256(_SALT + settings.SECRET_KEY.encode()).digest()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:40]


def media_url(artifact: Artifact) -> str:
    """An address for `<img>`; stays the same for half its life, so that browsers can cache it."""
    life = settings.MEDIA_URL_SECONDS
    expires = (int(time.time()) // (life // 2) + 2) * (life // 2)
    path = reverse("media", args=[artifact.organization_id, artifact.pk])
    signature = _signature(artifact.organization_id, artifact.pk, expires)
    return f"{path}?e={expires}&s={signature}"


def is_valid(organization_id: str, artifact_id: str, expires: str, signature: str) -> bool:
    """Whether we made the address for this artifact of this organization, and it still holds."""
    if not expires.isdecimal() or len(expires) > 12 or int(expires) < time.time():
        return False
    expected = _signature(organization_id, artifact_id, int(expires))
    return hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
