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
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

MAGIC = b"STU1"
HEADER = struct.Struct(">4sIB")
LENGTH = struct.Struct(">H")
SEGMENT_BYTES = 1 << 20
TAG_BYTES = 16
KEY_BYTES = 32
_BROKEN = "the envelope does not open with this key and context"


class SealBrokenError(ValueError):
    """The envelope was changed, cut, or sealed for something else; nothing of it is returned."""


class Readable(Protocol):
    """A seekable source of bytes."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...
    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an envelope is; goes into every tag. All four must be the same to open it."""

    organization: str
    object_id: str
    kind: str
    version: int = 1

    def to_bytes(self) -> bytes:
        """Length-prefixed, so that no two contexts read the same."""
        values = (self.organization, self.object_id, self.kind, str(self.version))
        parts = [value.encode() for value in values]
        return b"".join([LENGTH.pack(len(part)) + part for part in parts])


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
    stride = segment_bytes + TAG_BYTES
    # Sealed in place: `getvalue` gives out the buffer's own bytes, not a copy.
    envelope = BytesIO(bytes(HEADER.size + len(plaintext) + count * TAG_BYTES))
    with memoryview(plaintext) as plain, envelope.getbuffer() as sealed:
        sealed[: HEADER.size] = header
        for counter in range(count):
            nonce = _nonce(counter, is_last=counter == count - 1)
            start, origin = HEADER.size + counter * stride, counter * segment_bytes
            segment = plain[origin : origin + segment_bytes]
            cipher.encrypt_into(nonce, segment, associated, sealed[start : start + stride])
    return envelope.getvalue()


def open_sealed(envelope: bytes, *, key: bytes, context: Context) -> bytes:
    """The plaintext of a whole envelope.

    Raises:
        SealBrokenError: anything about it is not as it was sealed.
    """
    segment_bytes = _read_header(envelope[: HEADER.size])
    body = len(envelope) - HEADER.size
    size = plain_size(len(envelope), segment_bytes=segment_bytes)
    cipher, associated = AESGCM(key), envelope[: HEADER.size] + context.to_bytes()
    stride = segment_bytes + TAG_BYTES
    count = -(-body // stride)
    result = BytesIO(bytes(size))
    with memoryview(envelope) as sealed, result.getbuffer() as plain:
        for counter in range(count):
            nonce = _nonce(counter, is_last=counter == count - 1)
            start, origin = HEADER.size + counter * stride, counter * segment_bytes
            segment = sealed[start : start + stride]
            # No name for the target: as long as it lives, `getvalue` copies.
            _open_into(plain[origin : origin + segment_bytes], segment, cipher, nonce, associated)
    return result.getvalue()


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
    cipher, associated = AESGCM(key), header + context.to_bytes()
    stride = segment_bytes + TAG_BYTES
    last = max(0, -(-size // segment_bytes) - 1)

    def segment(counter: int) -> bytes:
        source.seek(HEADER.size + counter * stride)
        nonce = _nonce(counter, is_last=counter == last)
        return _open_next(source, min(stride, sealed_bytes), cipher, nonce, associated)

    if not 0 <= start <= stop <= size:
        segment(0)  # the size comes from the header: a forged one is not the caller's mistake
        raise ValueError(f"range {start}-{stop} is outside 0-{size}")
    if start == stop and size:
        return
    for counter in range(start // segment_bytes, max(stop - 1, 0) // segment_bytes + 1):
        origin = counter * segment_bytes
        yield segment(counter)[max(0, start - origin) : stop - origin]


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


def _open_into(
    target: memoryview, sealed: memoryview, cipher: AESGCM, nonce: bytes, associated: bytes
) -> None:
    try:
        cipher.decrypt_into(nonce, sealed, associated, target)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError(_BROKEN) from error


class _Scratch(threading.local):
    """Room for one sealed segment, kept by each thread: fresh memory costs more than opening."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(SEGMENT_BYTES + TAG_BYTES))


_scratch = _Scratch()


def _open_next(
    source: Readable, most: int, cipher: AESGCM, nonce: bytes, associated: bytes
) -> bytes:
    """Read up to `most` bytes, and open them. The scratch room is free again at the end."""
    room = _scratch.room if most <= len(_scratch.room) else memoryview(bytearray(most))
    got = 0
    while got < most and (more := source.readinto(room[got:most])):
        got += more
    try:
        return cipher.decrypt(nonce, room[:got], associated)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError(_BROKEN) from error
