"""The master key, which wraps the key of each workspace. Only this module touches it."""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gpuagent.protocol.sealing import KEY_BYTES, Context, new_key, open_sealed, seal
from gpuagent.protocol.sealing import unwrap_key as _unwrap
from gpuagent.protocol.sealing import wrap_key as _wrap

WRAPPED_BYTES = KEY_BYTES + 8


@lru_cache(maxsize=1)
def _master_key() -> bytes:
    try:
        key = base64.b64decode(settings.STUDIO_MASTER_KEY, validate=True)
    except binascii.Error as error:
        raise ImproperlyConfigured("STUDIO_MASTER_KEY is not base64.") from error
    if len(key) != KEY_BYTES:
        raise ImproperlyConfigured(f"STUDIO_MASTER_KEY has {len(key)} bytes, not {KEY_BYTES}.")
    return key


def new_wrapped_key() -> bytes:
    """A fresh key, wrapped by the master key, for a new workspace."""
    return _wrap(new_key(), wrapping_key=_master_key())


def unwrap_with_master(wrapped: bytes | memoryview) -> bytes:
    """A workspace's key.

    Raises:
        SealBrokenError: it was wrapped by another master key.
    """
    return _unwrap(bytes(wrapped), wrapping_key=_master_key())


def seal_record(plaintext: bytes, *, key: bytes, context: Context) -> bytes:
    """A small value for a database column: its wrapped data key, then its envelope."""
    data_key = new_key()
    return _wrap(data_key, wrapping_key=key) + seal(plaintext, key=data_key, context=context)


def open_record(sealed: bytes, *, key: bytes, context: Context) -> bytes:
    """What `seal_record` sealed.

    Raises:
        SealBrokenError: another key, another context, or changed bytes.
    """
    raw = bytes(sealed)
    data_key = _unwrap(raw[:WRAPPED_BYTES], wrapping_key=key)
    return open_sealed(raw[WRAPPED_BYTES:], key=data_key, context=context)
