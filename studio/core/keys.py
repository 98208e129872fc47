"""The master key, which wraps the key of each workspace. Only this module touches it.

The setting may hold several, one a line: the first wraps, all of them unwrap. So a new one takes
over while every process still reads what the old one wrapped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gpuagent.protocol.sealing import (
    KEY_BYTES,
    Context,
    SealBrokenError,
    new_key,
    open_sealed,
    seal,
)
from gpuagent.protocol.sealing import unwrap_key as _unwrap
from gpuagent.protocol.sealing import wrap_key as _wrap

WRAPPED_BYTES = KEY_BYTES + 8


class Wrapping(StrEnum):
    """How a column lies under a key: a wrapped data key, or a record of `seal_record`."""

    KEY = "key"
    RECORD = "record"


@lru_cache(maxsize=4)
def _master_keys(text: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(base64.b64decode(line, validate=True) for line in text.split())
    except binascii.Error as error:
        raise ImproperlyConfigured("STUDIO_MASTER_KEY is not base64.") from error
    if wrong := [len(key) for key in keys if len(key) != KEY_BYTES]:
        raise ImproperlyConfigured(f"STUDIO_MASTER_KEY has {wrong[0]} bytes, not {KEY_BYTES}.")
    if not keys:
        raise ImproperlyConfigured("STUDIO_MASTER_KEY is empty.")
    return keys


def new_wrapped_key() -> bytes:
    """A fresh key, wrapped by the master key, for a new workspace."""
    return _wrap(new_key(), wrapping_key=_master_keys(settings.STUDIO_MASTER_KEY)[0])


def unwrap_with_master(wrapped: bytes | memoryview) -> bytes:
    """A workspace's key.

    Raises:
        SealBrokenError: it was wrapped by a master key that is not among ours.
    """
    return unwrap_with_any(wrapped, _master_keys(settings.STUDIO_MASTER_KEY))


def rewrap_with_master(wrapped: bytes | memoryview) -> bytes | None:
    """A workspace's key under the first master key; None if it is already.

    Raises:
        SealBrokenError: it was wrapped by a master key that is not among ours.
    """
    return rewrap(wrapped, _master_keys(settings.STUDIO_MASTER_KEY))


def seal_with_master(plaintext: bytes, *, context: Context) -> bytes:
    """A small value that belongs to no workspace, under the master key itself."""
    key = _master_keys(settings.STUDIO_MASTER_KEY)[0]
    return seal_record(plaintext, key=key, context=context)


def open_with_master(sealed: bytes | memoryview, *, context: Context) -> bytes:
    """What `seal_with_master` sealed.

    Raises:
        SealBrokenError: another context, changed bytes, or a master key that is not among ours.
    """
    keys = _master_keys(settings.STUDIO_MASTER_KEY)
    return open_record(bytes(sealed), keys=keys, context=context)


def rewrap_sealed_with_master(sealed: bytes | memoryview) -> bytes | None:
    """The same value under the first master key; None if it is already.

    Raises:
        SealBrokenError: it is under a master key that is not among ours.
    """
    return rewrap_record(sealed, _master_keys(settings.STUDIO_MASTER_KEY))


def unwrap_with_any(wrapped: bytes | memoryview, keys: Sequence[bytes]) -> bytes:
    """The wrapped key, whichever of the keys it is under.

    Raises:
        SealBrokenError: it is under none of them.
    """
    for key in keys[:-1]:
        with suppress(SealBrokenError):
            return _unwrap(bytes(wrapped), wrapping_key=key)
    return _unwrap(bytes(wrapped), wrapping_key=keys[-1])


def rewrap(wrapped: bytes | memoryview, keys: Sequence[bytes]) -> bytes | None:
    """The same key under the first of `keys`; None if it is already.

    Raises:
        SealBrokenError: it is under none of them.
    """
    try:
        _unwrap(bytes(wrapped), wrapping_key=keys[0])
    except SealBrokenError:
        return _wrap(unwrap_with_any(wrapped, keys), wrapping_key=keys[0])
    return None


def seal_record(plaintext: bytes, *, key: bytes, context: Context) -> bytes:
    """A small value for a database column: its wrapped data key, then its envelope."""
    data_key = new_key()
    return _wrap(data_key, wrapping_key=key) + seal(plaintext, key=data_key, context=context)


def open_record(sealed: bytes, *, keys: Sequence[bytes], context: Context) -> bytes:
    """What `seal_record` sealed under one of the keys.

    Raises:
        SealBrokenError: other keys, another context, or changed bytes.
    """
    raw = bytes(sealed)
    data_key = unwrap_with_any(raw[:WRAPPED_BYTES], keys)
    return open_sealed(raw[WRAPPED_BYTES:], key=data_key, context=context)


def rewrap_record(sealed: bytes | memoryview, keys: Sequence[bytes]) -> bytes | None:
    """The same record with its data key under the first of `keys`; None if it is already.

    Raises:
        SealBrokenError: its data key is under none of them.
    """
    raw = bytes(sealed)
    wrapped = rewrap(raw[:WRAPPED_BYTES], keys)
    return None if wrapped is None else wrapped + raw[WRAPPED_BYTES:]
