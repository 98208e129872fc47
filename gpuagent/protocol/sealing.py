"""Sealed envelopes: segmented AES-256-GCM under a fresh data key for each object.

An envelope is a 9-byte header (magic `STU1`, segment size as a 4-byte big-endian integer, one
reserved byte) and then segments of `segment size` plaintext bytes, each with its 16-byte tag.
The nonce of a segment is 7 zero bytes, a 4-byte counter and a flag that is 1 on the last segment
only, so that segments cannot be moved, repeated, dropped or cut off (the STREAM construction:
Hoang, Reyhanitabar, Rogaway, Vizar, CRYPTO 2015). A nonce repeats only under another key, since
every object has its own. The header and the context (whose object, which kind) are associated
data of every segment: an envelope opens only as what it was sealed as.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

MAGIC = b"STU1"
HEADER = struct.Struct(">4sIB")
SEGMENT_BYTES = 1 << 20
TAG_BYTES = 16
KEY_BYTES = 32


class SealBrokenError(ValueError):
    """The envelope was changed, cut, or sealed for something else; nothing of it is returned."""


class Readable(Protocol):
    """A seekable source of bytes."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an envelope is; goes into every tag. All four must be the same to open it."""

    organization: str
    object_id: str
    kind: str
    version: int = 1

    def to_bytes(self) -> bytes:
        """Length-prefixed, so that no two contexts read the same."""
        parts = (self.organization, self.object_id, self.kind, str(self.version))
        return b"".join(struct.pack(">H", len(p.encode())) + p.encode() for p in parts)


def new_key() -> bytes:
    """A fresh 256-bit key from the operating system."""
    return os.urandom(KEY_BYTES)


def wrap_key(key: bytes, *, wrapping_key: bytes) -> bytes:
    """Wrap a key for storage (RFC 3394; 40 bytes)."""
    return aes_key_wrap(wrapping_key, key)


def unwrap_key(wrapped: bytes, *, wrapping_key: bytes) -> bytes:
    """The wrapped key.

    Raises:
        SealBrokenError: the wrapping key is another one, or the wrapped bytes were changed.
    """
    try:
        return aes_key_unwrap(wrapping_key, wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise SealBrokenError("the key does not unwrap") from error


def _nonce(counter: int, *, is_last: bool) -> bytes:
    return b"\x00" * 7 + struct.pack(">IB", counter, 1 if is_last else 0)


def seal(
    plaintext: bytes, *, key: bytes, context: Context, segment_bytes: int = SEGMENT_BYTES
) -> bytes:
    """Seal bytes into one envelope."""
    header = HEADER.pack(MAGIC, segment_bytes, 0)
    cipher, associated = AESGCM(key), header + context.to_bytes()
    count = max(1, -(-len(plaintext) // segment_bytes))
    parts = [header]
    view = memoryview(plaintext)
    for counter in range(count):
        segment = view[counter * segment_bytes : (counter + 1) * segment_bytes]
        nonce = _nonce(counter, is_last=counter == count - 1)
        parts.append(cipher.encrypt(nonce, segment, associated))
    return b"".join(parts)


def open_sealed(envelope: bytes, *, key: bytes, context: Context) -> bytes:
    """The plaintext of a whole envelope.

    Raises:
        SealBrokenError: anything about it is not as it was sealed.
    """
    segment_bytes = _read_header(envelope[: HEADER.size])
    body = len(envelope) - HEADER.size
    plain = plain_size(len(envelope), segment_bytes=segment_bytes)
    cipher, associated = AESGCM(key), envelope[: HEADER.size] + context.to_bytes()
    stride = segment_bytes + TAG_BYTES
    count = -(-body // stride)
    parts = []
    for counter in range(count):
        start = HEADER.size + counter * stride
        nonce = _nonce(counter, is_last=counter == count - 1)
        parts.append(_decrypt(cipher, nonce, envelope[start : start + stride], associated))
    result = b"".join(parts)
    if len(result) != plain:
        raise SealBrokenError("the envelope has the wrong size")
    return result


def open_range(
    source: Readable, *, sealed_bytes: int, start: int, stop: int, key: bytes, context: Context
) -> Iterator[bytes]:
    """Plaintext bytes `start` to `stop` (exclusive), opening only the segments they lie in.

    Raises:
        SealBrokenError: a segment is not as it was sealed; what came before it was genuine.
        ValueError: the range does not lie inside the plaintext.
    """
    source.seek(0)
    header = source.read(HEADER.size)
    segment_bytes = _read_header(header)
    size = plain_size(sealed_bytes, segment_bytes=segment_bytes)
    if not 0 <= start <= stop <= size:
        raise ValueError(f"range {start}-{stop} is outside 0-{size}")
    if start == stop and size:
        return
    cipher, associated = AESGCM(key), header + context.to_bytes()
    stride = segment_bytes + TAG_BYTES
    last = max(0, -(-size // segment_bytes) - 1)
    for counter in range(start // segment_bytes, max(stop - 1, 0) // segment_bytes + 1):
        source.seek(HEADER.size + counter * stride)
        sealed = source.read(stride)
        plain = _decrypt(cipher, _nonce(counter, is_last=counter == last), sealed, associated)
        origin = counter * segment_bytes
        yield plain[max(0, start - origin) : stop - origin]


def plain_size(sealed_bytes: int, *, segment_bytes: int = SEGMENT_BYTES) -> int:
    """Plaintext size of an envelope of `sealed_bytes`.

    Raises:
        SealBrokenError: no envelope has that size.
    """
    body = sealed_bytes - HEADER.size
    stride = segment_bytes + TAG_BYTES
    count = -(-body // stride)
    plain = body - count * TAG_BYTES
    if count < 1 or plain < 0 or (count > 1 and body - (count - 1) * stride <= TAG_BYTES):
        raise SealBrokenError("the envelope has the wrong size")
    return plain


def _read_header(header: bytes) -> int:
    if len(header) < HEADER.size:
        raise SealBrokenError("the envelope is shorter than its header")
    magic, segment_bytes, reserved = HEADER.unpack(header)
    if magic != MAGIC or reserved != 0 or not 1 <= segment_bytes <= 1 << 26:
        raise SealBrokenError("this is not an envelope of ours")
    return int(segment_bytes)


def _decrypt(cipher: AESGCM, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, sealed, associated)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError("the envelope does not open with this key and context") from error
