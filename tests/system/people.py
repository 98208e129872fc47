"""Those who use the product: an artist in a browser, and the program that she gave a token."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx

CANARY = "quivering-heliotrope-6f1d"
"""Rides in every prompt of these tests; nothing that is written in the clear may hold it."""

PROMPT = f"photo of a red mug on a wooden table, {CANARY}"
_TIMEOUT = httpx.Timeout(70.0, connect=5.0)
Json = dict[str, Any]


class Artist:
    """Signed in with a password, as a person is."""

    def __init__(self, url: str, *, email: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)
        page = self._http.get("/accounts/login/")
        form = {"login": email, "password": password, "csrfmiddlewaretoken": _csrf(page.text)}
        answer = self._http.post("/accounts/login/", data=form)
        assert answer.status_code == httpx.codes.FOUND, answer.text

    @property
    def cookie(self) -> str:
        return str(self._http.cookies["sessionid"])

    def make_token(self) -> str:
        """An API token from the page that makes them."""
        page = self._http.get("/settings/tokens")
        form = {
            "action": "create",
            "name": "Tests",
            "scope_set": "everything",
            "reach": "all",
            "expires": "30",
            "csrfmiddlewaretoken": _csrf(page.text),
        }
        answer = self._http.post("/settings/tokens", data=form)
        found = re.search(r"data-copy>([^<]+)<", answer.text)
        assert found, answer.text
        return found.group(1)

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def close(self) -> None:
        self._http.close()


class Program:
    """A client of `/api/v1/`. It puts up with a server that is away for a moment."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        base = f"{url}/api/v1/"
        self.http = httpx.Client(base_url=base, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def submit(self, *, wait: int = 0, **recipe: object) -> Json:
        """Ask for pictures; `wait` for the answer to hold them."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        answer = self.http.post("jobs", json={"prompt": PROMPT, **recipe}, headers=headers)
        assert answer.status_code in (201, 202), answer.text
        return _object(answer)

    def job(self, job_id: str) -> Json:
        return _object(self.http.get(f"jobs/{job_id}"))

    def cancel(self, job_id: str) -> Json:
        return _object(self.http.post(f"jobs/{job_id}/cancel"))

    def upload(self, content: bytes) -> httpx.Response:
        return self.http.post("uploads", files={"image": ("picture.png", content, "image/png")})

    def end_of(self, job_id: str, timeout_s: float = 40.0) -> Json:
        """The job once it has ended; errors on the way are waited out."""
        deadline = time.monotonic() + timeout_s
        last: object = None
        while time.monotonic() < deadline:
            try:
                job = _object(self.http.get(f"jobs/{job_id}"))
            except httpx.HTTPError as error:
                last = error
            else:
                last = job["status"]
                if job["ended_at"]:
                    return job
            time.sleep(0.1)
        raise AssertionError(f"{job_id} has not ended after {timeout_s:.0f} s: {last!r}")

    def wait_for_step(self, job_id: str, step: int, *, index: int = 0) -> None:
        """Until the agent says that it has taken this step of this picture."""
        for event in self._progress(job_id):
            if (event["index"], event["step"]) >= (index, step):
                return
        raise AssertionError(f"{job_id} ended before step {step} of picture {index}.")

    def pictures(self) -> dict[str, str]:
        """Id to SHA-256 of all pictures in the gallery."""
        found: dict[str, str] = {}
        before: str | None = ""
        while before is not None:
            page = _object(self.http.get("outputs", params={"before": before}))
            found |= {output["id"]: output["sha256"] for output in page["results"]}
            before = page["next"]
        return found

    def close(self) -> None:
        self.http.close()

    def _progress(self, job_id: str) -> Iterator[Json]:
        accept = {"Accept": "text/event-stream"}
        with self.http.stream("GET", f"jobs/{job_id}/events", headers=accept) as answer:
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == "progress":
                    yield json.loads(line.removeprefix("data: "))


def message_of(data: str | bytes) -> Json | None:
    """A message of the browser's socket; None for a preview."""
    if isinstance(data, bytes):
        return None
    message = json.loads(data)
    assert isinstance(message, dict)
    return message


def _csrf(html: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert found, html[:500]
    return found.group(1)


def _object(answer: httpx.Response) -> Json:
    answer.raise_for_status()
    body = answer.json()
    assert isinstance(body, dict), body
    return body
