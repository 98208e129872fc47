"""A ZIP that grows at its end: what was written is gone from memory, but for its name and sum."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime

from zipstream import ZIP_DEFLATED, ZIP_STORED, ZipStream

NAME_KEPT = 40
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


class Archive:
    """Each method yields the bytes of what it adds; nothing else may be added meanwhile."""

    def __init__(self) -> None:
        self._zip = ZipStream(compress_type=ZIP_STORED)
        self._sums: list[str] = []
        self.errors: list[str] = []

    def add(self, path: str, content: Iterable[bytes], *, is_text: bool = True) -> Iterator[bytes]:
        """A file; text is compressed, pictures are so already. Its size need not be known."""
        digest = hashlib.sha256()

        def measured() -> Iterator[bytes]:
            try:
                for piece in content:
                    digest.update(piece)
                    yield piece
            except (OSError, ValueError) as error:  # the rest of the archive is sound all the same
                self.errors.append(f"{path}: cut off ({type(error).__name__})")

        kind = ZIP_DEFLATED if is_text else ZIP_STORED
        self._zip.add(measured(), path, compress_type=kind)
        yield from self._zip.file()
        self._sums.append(f"{digest.hexdigest()}  {path}\n")

    def add_json(self, path: str, value: object) -> Iterator[bytes]:
        """One JSON document."""
        text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
        yield from self.add(path, [text.encode() + b"\n"])

    def add_lines(self, path: str, rows: Iterable[object]) -> Iterator[bytes]:
        """One JSON value a line (NDJSON), row by row."""
        yield from self.add(path, (_line(row) for row in rows))

    def add_errors(self, path: str) -> Iterator[bytes]:
        """What is missing, one a line; the file is there also if nothing is."""
        found = self.errors or ["Nothing is missing and nothing is damaged."]
        yield from self.add(path, (f"{line}\n".encode() for line in found))

    def finish(self, path: str) -> Iterator[bytes]:
        """The sums of all files, as `sha256sum -c` reads them, and the end of the ZIP."""
        self._zip.add((line.encode() for line in self._sums), path, compress_type=ZIP_DEFLATED)
        yield from self._zip.finalize()


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=_plain).encode() + b"\n"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def safe_name(name: str, row_id: str) -> str:
    """A folder's name that every system takes: some letters of the name, and the id."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    letters = _UNSAFE.sub("-", plain).strip("-")[:NAME_KEPT].strip("-")
    return f"{letters}-{row_id}" if letters else row_id


def gather(pieces: Iterable[bytes], size: int = 1 << 18) -> Iterator[bytes]:
    """The same bytes in pieces of about `size`, so that each is worth a step of its own."""
    kept: list[bytes] = []
    length = 0
    for piece in pieces:
        kept.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(kept)
            kept, length = [], 0
    if kept:
        yield b"".join(kept)
