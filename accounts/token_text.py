"""The text of an API token. Pure: a prefix, 256 random bits, and a checksum over both.

A scanner of secrets finds one by its form and tells it from chance by the checksum, offline:
docs/how-to/use-the-api.md says how.
"""

from __future__ import annotations

import secrets
import string
import zlib

PREFIX = "stu_"
PATTERN = r"stu_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}"
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_LENGTH = len(PREFIX) + _SECRET_LENGTH + _CHECKSUM_LENGTH
# Of tokens that were made before there was a checksum.
_OLD_LENGTH = len(PREFIX) + _SECRET_LENGTH
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_text() -> str:
    """The text of a new token."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text + checksum(text)


def checksum(text: str) -> str:
    """CRC-32 of the text before it, in base 62 (0-9, A-Z, a-z), six digits."""
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def can_be_token(text: str) -> bool:
    """Whether it is worth asking the database for this text."""
    if not text.startswith(PREFIX) or not text.isascii():
        return False
    if len(text) == _OLD_LENGTH:
        return True
    head, tail = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    return len(text) == _LENGTH and checksum(head) == tail
