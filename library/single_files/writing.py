"""A part of a model folder, checked against the file that it comes from and copied out of it.

No number is ever computed, so nothing is lost: each tensor keeps its type and its bytes, which go
from file to file in chunks. Only what lies the other way is turned, which moves its numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from library.single_files.pieces import Piece, UnfitFileError, sides, trimmed
from library.tensor_files import FLOATS, WIDTHS, Entry, TensorFile

_COPY_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A folder of the model: its file's name, its configuration, and what goes into it."""

    folder: str
    file: str
    config: Mapping[str, object]
    prefix: str
    pieces: tuple[Piece, ...]


def check_part(file: TensorFile, part: Part) -> None:
    """Check that all of it is in the file, in its shape.

    Raises:
        UnfitFileError: it is not; the text names the first tensor that is wrong.
    """
    missing = [p.old for p in part.pieces if part.prefix + p.old not in file.entries]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnfitFileError(f"it lacks {part.prefix + missing[0]!r}{more}")
    for piece in part.pieces:
        entry = file.entries[part.prefix + piece.old]
        wanted = _whole(piece, entry)
        if trimmed(entry.shape) != trimmed(wanted):
            name, is_now = part.prefix + piece.old, sides(entry.shape)
            raise UnfitFileError(f"{name!r} is {is_now}; in this model it would be {sides(wanted)}")
        if entry.dtype not in FLOATS:
            raise UnfitFileError(
                f"{part.prefix + piece.old!r} is kept as {entry.dtype}; F16, BF16 and F32 are read"
            )


def _whole(piece: Piece, entry: Entry) -> tuple[int, ...]:
    """The shape that the tensor of the single file must have."""
    if piece.rows is not None:
        return (piece.shape[0] * 3, *piece.shape[1:])
    return piece.shape[::-1] if piece.is_turned else piece.shape


def write_json(path: Path, config: Mapping[str, object]) -> None:
    """A configuration as a file, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_part(source: BinaryIO, file: TensorFile, part: Part, target: Path) -> None:
    """Its weights file. Wide types first: so each tensor lies where its type may."""
    entries = {piece.new: file.entries[part.prefix + piece.old] for piece in part.pieces}
    order = sorted(part.pieces, key=lambda p: (-WIDTHS[entries[p.new].dtype], p.new))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for piece in order:
        entry = entries[piece.new]
        size = (entry.end - entry.begin) // (3 if piece.rows else 1)
        offsets = [at, at + size]
        header[piece.new] = {
            "dtype": entry.dtype,
            "shape": piece.shape,
            "data_offsets": offsets,
        }
        at += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for piece in order:
            for chunk in _bytes_of(source, entries[piece.new], piece):
                out.write(chunk)


def _bytes_of(source: BinaryIO, entry: Entry, piece: Piece) -> Iterator[bytes]:
    size = entry.end - entry.begin
    if piece.is_turned:
        source.seek(entry.begin)
        yield _turned(source.read(size), entry)
        return
    begin, left = entry.begin, size
    if piece.rows is not None:
        left = size // 3
        begin += left * (piece.rows[0] // piece.shape[0])
    source.seek(begin)
    while left:
        chunk = source.read(min(left, _COPY_BYTES))
        if not chunk:
            raise UnfitFileError("it ends too early")
        left -= len(chunk)
        yield chunk


def _turned(data: bytes, entry: Entry) -> bytes:
    """Rows for columns."""
    columns = entry.shape[1]
    numbers = memoryview(data).cast("I" if WIDTHS[entry.dtype] == 4 else "H")
    return b"".join(bytes(numbers[column::columns]) for column in range(columns))
