"""Programs that ask for pictures whatever happens, and pages that hear of them."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin

ENDED = ("succeeded", "failed", "canceled")
_TIMEOUT = httpx.Timeout(8.0, connect=2.0)
_ASK_AGAIN_S, _LOOK_EVERY_S = 0.3, 0.25
_OBJECTS = ("mug", "car", "star", "apple", "house", "hat", "lamp", "fish")


@dataclass(slots=True)
class Asked:
    """A job that the studio has said yes to."""

    id: str
    count: int
    asked_at: float
    status: str = ""
    ended_at: float | None = None


class Programs:
    """Several programs with one token; each waits for its pictures before it asks for more.

    A request that fails is made again with the same idempotency key, as a careful program does,
    and now and then one that did not fail: the answer must be the same job.
    """

    def __init__(self, url: str, token: str, *, count: int, seed: int, steps: int) -> None:
        self._url = url
        self._token = token
        self._steps = steps
        self.asked: dict[str, Asked] = {}
        self.other_answers = 0
        self.refusals: list[str] = []
        self.listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(seed * 1_000 + n,), name=f"program {n}")
            for n in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_asking(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Until all that was asked has ended; False if something has not."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def pictures(self) -> int:
        with self._lock:
            return sum(job.count for job in self.asked.values())

    def _run(self, seed: int) -> None:
        choice = random.Random(seed)  # noqa: S311  # recipes, no secrets
        number = 0
        with httpx.Client(
            base_url=f"{self._url}/api/v1/",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=_TIMEOUT,
            trust_env=False,
        ) as http:
            while not self._stop.is_set():
                number += 1
                job = self._ask(http, self._recipe(choice), f"{seed}-{number}")
                if choice.random() < 0.2:
                    again = self._ask(http, self._recipe(choice), f"{seed}-{number}")
                    self.other_answers += int(again is not job)
                if job is not None:
                    self._wait_for(http, job)

    def _recipe(self, choice: random.Random) -> Mapping[str, object]:
        return {
            "prompt": f"photo of a red {choice.choice(_OBJECTS)} on a beach",
            "width": 128,
            "height": 128,
            "num_inference_steps": choice.randint(2, self._steps),
            "num_images_per_prompt": choice.choice((1, 1, 2, 3)),
            "seed": choice.randrange(1 << 31),
        }

    def _ask(self, http: httpx.Client, recipe: Mapping[str, object], key: str) -> Asked | None:
        """Ask until the studio answers; the same key however often."""
        while True:
            try:
                answer = http.post("jobs", json=dict(recipe), headers={"Idempotency-Key": key})
            except httpx.HTTPError:
                time.sleep(_ASK_AGAIN_S)
                continue
            if answer.is_success:
                return self._note(answer.json())
            if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                self.refusals.append(f"HTTP {answer.status_code}")
                return None
            time.sleep(_ASK_AGAIN_S)

    def _note(self, said: Mapping[str, Any]) -> Asked:
        with self._lock:
            known = self.asked.get(said["id"])
            if known is None:
                count = int(said["recipe"]["num_images_per_prompt"])
                known = self.asked[said["id"]] = Asked(said["id"], count, time.time())
        for tell in self.listeners:
            tell(known.id)
        return known

    def _wait_for(self, http: httpx.Client, job: Asked) -> None:
        while job.ended_at is None:
            with suppress(httpx.HTTPError, ValueError, KeyError):
                said = http.get(f"jobs/{job.id}").raise_for_status().json()
                job.status = said["status"]
                if job.status in ENDED:
                    job.ended_at = time.time()
                    return
            time.sleep(_LOOK_EVERY_S)


@dataclass
class Page:
    """A page as `frontend/lib/tile-board.ts` is one: told by its socket alone, it never asks.

    After a connect it looks at those of its jobs that the snapshot no longer has, as the page does.
    """

    url: str
    workspace: str
    cookie: str
    token: str
    ends: dict[str, str] = field(default_factory=dict)
    connects: int = 0
    ended_twice: int = 0
    closed_for_good: int = 0
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)

    def expect(self, job_id: str) -> None:
        """The page has a tile of this job."""
        with self._lock:
            if job_id not in self.ends:
                self._known.add(job_id)

    def missing(self, asked: Mapping[str, Asked]) -> list[str]:
        """What it has not heard the end of."""
        with self._lock:
            return [job_id for job_id in asked if job_id not in self.ends]

    def _run(self) -> None:
        pause = 0.2
        while not self._stop.is_set():
            try:
                with connect(
                    f"{self.url.replace('http', 'ws', 1)}/ws/w/{self.workspace}/",
                    additional_headers={"Cookie": self.cookie},
                    origin=Origin(self.url),
                    proxy=None,
                    compression=None,
                    open_timeout=5,
                ) as socket:
                    self.connects += 1
                    pause = 0.2
                    while not self._stop.is_set():
                        with suppress(TimeoutError):
                            self._hear(socket.recv(timeout=0.5))
            except WebSocketException as error:
                code = getattr(getattr(error, "rcvd", None), "code", 0)
                self.closed_for_good += int(code in (4401, 4404))
            except (OSError, InvalidHandshake, TimeoutError):
                pass
            self._stop.wait(pause)
            pause = min(pause * 2, 5.0)

    def _hear(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            return
        message = json.loads(data)
        if message["type"] == "changed":
            self._end(message["id"], message["status"])
        elif message["type"] == "snapshot":
            alive = {job["id"] for job in message["jobs"]}
            with self._lock:
                gone = self._known - alive
            for job_id in gone:
                self._look(job_id)

    def _look(self, job_id: str) -> None:
        """What the page does for a tile that was running when it last heard."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.url}/api/v1/jobs/{job_id}"
        with suppress(httpx.HTTPError, ValueError, KeyError):
            answer = httpx.get(url, headers=headers, timeout=_TIMEOUT, trust_env=False)
            self._end(job_id, answer.raise_for_status().json()["status"])

    def _end(self, job_id: str, status: str) -> None:
        with self._lock:
            if status not in ENDED:
                if job_id not in self.ends:
                    self._known.add(job_id)
                return
            self._known.discard(job_id)
            self.ended_twice += int(self.ends.get(job_id, status) != status)
            self.ends[job_id] = status
