"""Reading bytes from an address: a file below an allowed folder, or HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from gpuagent.cache.places import Places, is_file, is_http

CHUNK_BYTES = 1 << 20


class SourceError(Exception):
    """The bytes could not be read; says which kind of trouble, not where."""


class Sources:
    """Opens addresses for reading."""

    def __init__(self, places: Places, http: httpx.Client) -> None:
        self._places = places
        self._http = http

    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        """The chunks of what lies at `url`.

        Raises:
            PlaceRefusedError: the agent may not read there.
            SourceError: nothing readable lies there.
        """
        absolute = self._places.absolute(url)
        if is_file(absolute):
            yield _file_chunks(self._places.readable(absolute))
        elif is_http(absolute):
            with self._open_http(absolute, {}, httpx.codes.OK) as chunks:
                yield chunks
        else:
            raise SourceError("unknown kind of address")

    def has_ranges(self, url: str, size_bytes: int) -> bool:
        """Whether parts of it can be asked for, and it has the size that we expect."""
        absolute = self._places.absolute(url)
        if not is_http(absolute) or size_bytes < 1:
            return False
        headers = {**self._places.headers(absolute), "Range": "bytes=0-0"}
        try:
            with self._http.stream("GET", absolute, headers=headers, follow_redirects=True) as got:
                is_part = got.status_code == httpx.codes.PARTIAL_CONTENT
                return is_part and got.headers.get("Content-Range") == f"bytes 0-0/{size_bytes}"
        except httpx.HTTPError as error:
            raise SourceError(type(error).__name__) from error

    @contextmanager
    def open_range(self, url: str, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """The chunks of bytes `start` to `end` (exclusive) of what lies at an HTTP address.

        Raises:
            SourceError: it cannot be read, now or in parts.
        """
        absolute = self._places.absolute(url)
        wanted = {"Range": f"bytes={start}-{end - 1}"}
        with self._open_http(absolute, wanted, httpx.codes.PARTIAL_CONTENT) as chunks:
            yield chunks

    @contextmanager
    def _open_http(
        self, url: str, wanted: dict[str, str], status: int
    ) -> Iterator[Iterator[bytes]]:
        # Bytes as they are: a packed answer would not be the bytes that were asked for.
        headers = {**self._places.headers(url), **wanted, "Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
                if answer.status_code != status:
                    raise SourceError(f"HTTP {answer.status_code}")
                # As they come: what is held back is lost if it breaks off.
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise SourceError(type(error).__name__) from error


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(type(error).__name__) from error
