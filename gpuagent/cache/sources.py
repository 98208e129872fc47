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
            with self._open_http(absolute) as chunks:
                yield chunks
        else:
            raise SourceError("unknown kind of address")

    @contextmanager
    def _open_http(self, url: str) -> Iterator[Iterator[bytes]]:
        headers = self._places.headers(url)
        try:
            with self._http.stream("GET", url, headers=headers, follow_redirects=True) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise SourceError(f"HTTP {answer.status_code}")
                yield answer.iter_bytes(CHUNK_BYTES)
        except httpx.HTTPError as error:
            raise SourceError(type(error).__name__) from error


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise SourceError(type(error).__name__) from error
