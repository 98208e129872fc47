"""The bytes of a file that is being added: pieces in the store, each of one size but the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from library.models import ModelUpload
from studio.core import storage

PIECE_BYTES = 8 * 1024 * 1024


def piece_key(upload: ModelUpload, offset: int) -> str:
    """Where the piece that begins there lies."""
    return f"incoming/{upload.organization_id}/{upload.pk}/{offset:016d}"


def piece_size(upload: ModelUpload, offset: int) -> int:
    """How long the piece that begins there is."""
    return min(PIECE_BYTES, upload.size_bytes - offset)


def put_piece(upload: ModelUpload, offset: int, content: bytes) -> None:
    """Write a piece; one that lies there already, from a try that was cut off, is replaced.

    Raises:
        StoreFullError: there is no room; nothing of it is left.
    """
    storage.put(piece_key(upload, offset), content)


def assemble(upload: ModelUpload, path: Path, told: Callable[[int], None]) -> None:
    """Write the pieces into one file; `told` hears how many bytes are there.

    Raises:
        FileNotFoundError: a piece is gone.
        OSError: the disk is full.
    """
    with path.open("wb") as file:
        for piece in _pieces(upload):
            file.write(piece)
            told(file.tell())


def _pieces(upload: ModelUpload) -> Iterator[bytes]:
    for offset in range(0, upload.size_bytes, PIECE_BYTES):
        with storage.open_object(piece_key(upload, offset)) as file:
            yield file.read()


def in_pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    """What comes in parts of any size, in pieces."""
    kept = bytearray()
    for part in parts:
        kept += part
        while len(kept) >= PIECE_BYTES:
            yield bytes(kept[:PIECE_BYTES])
            del kept[:PIECE_BYTES]
    if kept:
        yield bytes(kept)


def erase(upload: ModelUpload) -> None:
    """Remove the pieces; twice is fine."""
    storage.delete_folder(f"incoming/{upload.organization_id}/{upload.pk}")
