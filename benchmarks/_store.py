"""An object store that can be told to misbehave: moto's S3 behind a door of our own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "pictures"
MOODS = ("unavailable", "stored but untold", "slow", "full")
_SLOW_SECONDS = 2.0
_ANSWERS = {
    "unavailable": ("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>"),
    "full": ("507 Insufficient Storage", b"<Error><Code>StorageFull</Code></Error>"),
    "stored but untold": ("500 Internal Error", b"<Error><Code>InternalError</Code></Error>"),
}
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


@dataclass
class Store:
    """A bucket at an address; `misbehave` spoils its answers for a while."""

    endpoint: str = ""
    refused: int = 0
    _mood: str = ""
    _until: float = 0.0
    _app: Any = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """For `STORAGE_URL`."""
        options = f"endpoint={quote(self.endpoint)}&region=us-east-1&addressing=path"
        return f"s3://{BUCKET}?{options}"

    def misbehave(self, mood: str, seconds: float) -> None:
        self._mood, self._until = mood, time.monotonic() + seconds

    def heal(self) -> None:
        self._until = 0.0

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI: what the mood leaves of moto's answer."""
        mood = self._mood if time.monotonic() < self._until else ""
        is_write = environ["REQUEST_METHOD"] in ("PUT", "POST")
        if mood == "slow":
            time.sleep(_SLOW_SECONDS)
        elif mood == "unavailable" or (mood and is_write):
            if mood == "stored but untold":
                list(self._app(environ, lambda *_arguments: None))
            self.refused += 1
            status, body = _ANSWERS[mood]
            start_response(status, [("Content-Type", "application/xml")])
            return [body]
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


@contextmanager
def running_store() -> Iterator[tuple[Store, dict[str, str]]]:
    """The store, and the credentials that the web side opens it with."""
    credentials = {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = Store(_app=DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, name="store", daemon=True)
    thread.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=store.endpoint,
            region_name="us-east-1",
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield store, credentials
    finally:
        server.shutdown()
        thread.join(5)
