"""Putting sealed files where the studio said."""

from __future__ import annotations

import threading

import httpx

from gpuagent.cache.errors import AttemptFailedError, store_failed
from gpuagent.cache.places import PlaceRefusedError, Places, is_file, is_http
from gpuagent.cache.writing import write_atomically
from gpuagent.protocol.failures import FailureCode

_TRIES = 3
_PAUSE_SECONDS = 0.3
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class Store:
    """Writes below the store's folder, or PUTs over HTTP."""

    def __init__(self, places: Places, http: httpx.Client) -> None:
        self._places = places
        self._http = http

    def put(self, url: str, data: bytes) -> None:
        """Store bytes; whole or not at all.

        Raises:
            AttemptFailedError: the store did not take them, or lies where we may not write.
        """
        absolute = self._places.absolute(url)
        try:
            if is_file(absolute):
                write_atomically(self._places.writable(absolute), data)
            elif is_http(absolute):
                self._put_http(absolute, data)
            else:
                raise AttemptFailedError(FailureCode.STORE_FAILED, reason="unknown address")
        except PlaceRefusedError as error:
            raise AttemptFailedError(FailureCode.STORE_FAILED, reason=str(error)) from error
        except OSError as error:
            raise store_failed(error) from error

    def _put_http(self, url: str, data: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream", **self._places.headers(url)}
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                threading.Event().wait(_PAUSE_SECONDS * 2**attempt)
            try:
                answer = self._http.put(url, content=data, headers=headers, timeout=_TIMEOUT)
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if answer.is_success:
                return
            reason = f"HTTP {answer.status_code}"
            if answer.status_code == httpx.codes.INSUFFICIENT_STORAGE:
                reason = "disk full"
            if not answer.is_server_error:
                break
        raise AttemptFailedError(FailureCode.STORE_FAILED, reason=reason)
