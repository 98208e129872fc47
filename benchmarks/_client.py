"""A person at a page: signed in, listening on the workspace's socket; and their API token."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks._studio import Studio
from gpuagent.protocol.frames import PreviewFrame

T = TypeVar("T")
_TOKEN = re.compile(r"stu_[A-Za-z0-9_-]{20,}")
_TOKEN_FORM = {
    "action": "create",
    "name": "benchmark",
    "scope_set": "everything",
    "reach": "all",
    "expires": "30",
}


@dataclass(slots=True)
class Heard:
    """When the page first heard of each thing about a job, by `time.time()`."""

    first_preview: float | None = None
    pictures: dict[int, float] = field(default_factory=dict)
    ended: float | None = None
    status: str = ""


class Page:
    """Everything that came down one browser socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._heard: dict[str, Heard] = {}
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="page", daemon=True)
        self._thread.start()

    def wait_for(self, job_id: str, seen: Callable[[Heard], T | None], *, timeout_s: float) -> T:
        """Wait until `seen` finds in what was heard of the job what it looks for."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: seen(self._heard.get(job_id) or Heard()), timeout=timeout_s
            )
        if found is None:
            raise TimeoutError(f"{job_id}: not heard of within {timeout_s:g} s")
        return found

    def heard(self, job_id: str) -> Heard:
        """What has been heard of a job."""
        with self._changed:
            return self._heard.get(job_id) or Heard()

    def _listen(self) -> None:
        try:
            for data in self._socket:
                now = time.time()
                with self._changed:
                    self._note(data, now)
                    self._changed.notify_all()
        except ConnectionClosed:
            return

    def _note(self, data: str | bytes, now: float) -> None:
        if isinstance(data, bytes):
            heard = self._of(PreviewFrame.decode(data).subject_id)
            heard.first_preview = heard.first_preview or now
            return
        message = json.loads(data)
        if message["type"] != "changed":
            return
        heard = self._of(message["id"])
        heard.status = message["status"]
        if message["outputs"]:
            heard.pictures.setdefault(message["outputs"], now)
        if message["status"] in ("succeeded", "failed", "canceled"):
            heard.ended = heard.ended or now

    def _of(self, job_id: str) -> Heard:
        return self._heard.setdefault(job_id, Heard())


@dataclass(frozen=True, slots=True)
class Artist:
    """Someone with an API token and an open page."""

    api: httpx.Client
    page: Page

    def submit(self, recipe: Mapping[str, object]) -> str:
        """Ask for pictures; the job's id."""
        answer = self.api.post("/api/v1/jobs", json=dict(recipe))
        answer.raise_for_status()
        return str(answer.json()["id"])

    def pictures(self, job_id: str) -> list[bytes]:
        """The stored files of a job, as the studio delivers them."""
        job = self.api.get(f"/api/v1/jobs/{job_id}").raise_for_status().json()
        urls = [output["picture_url"] for output in job["outputs"]]
        return [self.api.get(url).raise_for_status().content for url in urls]


@contextmanager
def signed_in(studio: Studio) -> Iterator[Artist]:
    """Sign in through the form, open the room's socket, make a token."""
    url = studio.layout.url
    token, cookie = signed_in_token(studio)
    path = studio.login.workspace_path.removeprefix("/w/")
    with (
        connect(
            f"{url.replace('http', 'ws', 1)}/ws/w/{path}",
            additional_headers={"Cookie": cookie},
            origin=Origin(url),
            proxy=None,
        ) as socket,
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=90,
            trust_env=False,
        ) as api,
    ):
        yield Artist(api, Page(socket))


def signed_in_token(studio: Studio) -> tuple[str, str]:
    """A new API token from the page that makes them, and the cookie of the browser's session."""
    url = studio.layout.url
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as web:
        _post_form(
            web, "/accounts/login/", login=studio.login.email, password=studio.login.password
        )
        shown = _post_form(web, "/settings/tokens", **_TOKEN_FORM).text
        token = _TOKEN.search(shown)
        if token is None:
            raise RuntimeError("The page of tokens shows no new token.")
        cookie = "; ".join(f"{name}={value}" for name, value in web.cookies.items())
    return token.group(), cookie


def _post_form(web: httpx.Client, path: str, **fields: str) -> httpx.Response:
    web.get(path).raise_for_status()
    fields["csrfmiddlewaretoken"] = web.cookies["csrftoken"]
    answer = web.post(path, data=fields, headers={"Referer": f"{web.base_url}{path}"})
    if answer.is_error:
        answer.raise_for_status()
    return answer
