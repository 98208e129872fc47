"""Sealing and opening under an organization's key: what belongs to no workspace."""

from __future__ import annotations

from accounts.models import Organization
from gpuagent.protocol.sealing import Context
from studio.core.keys import open_record, seal_record, unwrap_with_master


def seal_for(organization: Organization, plaintext: bytes, *, kind: str, object_id: str) -> bytes:
    """Seal a value for `object_id`; it opens only as that kind of that object."""
    context = Context(organization=organization.pk, object_id=object_id, kind=kind)
    return seal_record(plaintext, key=_key(organization), context=context)


def open_for(
    organization: Organization, sealed: bytes | memoryview, *, kind: str, object_id: str
) -> bytes:
    """What `seal_for` sealed.

    Raises:
        SealBrokenError: it is not what it should be.
    """
    context = Context(organization=organization.pk, object_id=object_id, kind=kind)
    return open_record(bytes(sealed), keys=[_key(organization)], context=context)


def _key(organization: Organization) -> bytes:
    return unwrap_with_master(organization.wrapped_key)
