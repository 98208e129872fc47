"""Whatever is killed, emptied or paused in the middle of work: every job ends, and ends once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from launcher.process import wait_until

from .people import Artist, Json, Program, message_of
from .product import LEASE_S, Product

pytestmark = pytest.mark.slow_process

MIDDLING, LONG = 80, 150
"""Steps of pictures that take seconds, so that they can be hit in the middle."""

RECOVERED_WITHIN_S = 20.0
Record = Callable[[str, object], None]


def assert_made_once(job: Json, *, count: int = 1) -> None:
    assert job["status"] == "succeeded", job["error"]
    assert [output["index"] for output in job["outputs"]] == list(range(count))


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_killed_agent_is_replaced_and_keeps_what_was_done(
    product: Product, program: Program, record_property: Record
) -> None:
    job = program.submit(num_inference_steps=MIDDLING, num_images_per_prompt=2)["id"]
    program.wait_for_step(job, 30, index=1)
    (first,) = program.job(job)["outputs"]

    product.kill("agent")
    killed_at = time.monotonic()
    program.wait_for_step(job, 1, index=1)
    recovered_s = time.monotonic() - killed_at
    ended = program.end_of(job)

    record_property("agent killed: until a new one makes the picture", recovered_s)
    assert recovered_s < RECOVERED_WITHIN_S
    assert_made_once(ended, count=2)
    assert ended["outputs"][0]["id"] == first["id"]
    *lost, last = product.attempts(job)
    # A lease may cross the new process on its way; that one ends at once and blames nobody.
    assert (set(lost), last) == ({"expired"}, "succeeded")
    assert len(lost) <= 2


def test_emptied_broker_loses_nothing(
    product: Product, program: Program, record_property: Record
) -> None:
    # Given one job that runs, and one in line
    running = program.submit(num_inference_steps=LONG)["id"]
    program.wait_for_step(running, 10)
    queued = program.submit()["id"]
    product.empty_broker()
    emptied_at = time.monotonic()
    for job in (running, queued):
        assert_made_once(program.end_of(job))
    record_property("broker emptied: until all is made", time.monotonic() - emptied_at)

    # And one whose message the agent has not read
    with paused(product.pid("agent")):
        unread = program.submit()["id"]
        assert wait_until(lambda: product.attempts(unread) == ["leased"], 5.0)
        product.empty_broker()
        emptied_at = time.monotonic()
    assert_made_once(program.end_of(unread))
    record_property("unread message lost: until it is made", time.monotonic() - emptied_at)


def test_killed_web_process_comes_back_and_sockets_with_it(
    product: Product, artist: Artist, program: Program, record_property: Record
) -> None:
    job = program.submit(num_inference_steps=LONG, num_images_per_prompt=2)["id"]
    program.wait_for_step(job, 10)
    with browser_socket(product, artist) as socket:
        assert job in jobs_in(snapshot(socket))
        product.kill("web")
        killed_at = time.monotonic()
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(timeout=5)

    with browser_socket(product, artist) as socket:
        assert job in jobs_in(snapshot(socket))
        record_property("web killed: until a page sees again", time.monotonic() - killed_at)
        ended = program.end_of(job)
        assert_made_once(ended, count=2)
        states = [m for m in messages(socket) if m["type"] == "changed" and m["id"] == job]
        assert states[-1]["status"] == "succeeded"
    assert product.attempts(job)[-1] == "succeeded"


def test_killed_dispatcher_worker_and_database_lose_nothing(
    product: Product, program: Program, record_property: Record
) -> None:
    jobs = [program.submit(num_inference_steps=LONG)["id"]]
    program.wait_for_step(jobs[0], 10)
    old = [product.kill(name) for name in ("dispatcher", "worker")]
    killed_at = time.monotonic()
    jobs.append(program.submit(num_inference_steps=LONG)["id"])
    assert wait_until(lambda: bool(product.attempts(jobs[1])), RECOVERED_WITHIN_S)
    record_property("dispatcher killed: until a new one gives work", time.monotonic() - killed_at)
    jobs.append(program.submit()["id"])
    assert product.pid("dispatcher") not in old
    assert product.pid("worker") not in old

    program.wait_for_step(jobs[1], 10)
    product.kill_postgres()
    killed_at = time.monotonic()
    assert wait_until(lambda: product.has_said(r"postgres +\| is back"), RECOVERED_WITHIN_S)
    assert wait_until(lambda: is_answering(program, jobs[0]), RECOVERED_WITHIN_S)
    record_property("PostgreSQL killed: until pages answer", time.monotonic() - killed_at)
    for job in jobs:
        assert_made_once(program.end_of(job))


def test_paused_agent_writes_nothing_under_its_old_fence(
    product: Product, program: Program, record_property: Record
) -> None:
    job = program.submit(num_inference_steps=MIDDLING, num_images_per_prompt=2)["id"]
    program.wait_for_step(job, 20, index=1)
    with paused(product.pid("agent")):
        paused_at = time.monotonic()
        assert wait_until(lambda: product.attempts(job) == ["expired"], LEASE_S + 6.0)
        record_property("agent paused: until its work is taken back", time.monotonic() - paused_at)
        assert program.job(job)["status"] == "queued"

    assert_made_once(program.end_of(job), count=2)
    attempts = product.attempts_by_fence(job)
    assert [status for _id, status in attempts] == ["expired", "succeeded"]
    stale_id, _status = attempts[0]
    body = {"fence": 1, "status": "failed", "error": None, "timings": {}}
    answer = agent_call(product, f"attempts/{stale_id}/finish", body)
    assert answer.status_code == httpx.codes.CONFLICT
    body = {"fence": 1, "index": 1, "manifest": {}, "files": []}
    answer = agent_call(product, f"attempts/{stale_id}/outputs", body)
    assert answer.status_code == httpx.codes.CONFLICT
    assert_made_once(program.job(job), count=2)


# ---------------------------------------------------------------------- helpers


def agent_call(product: Product, path: str, body: Json) -> httpx.Response:
    """Speak as the agent of this machine does."""
    headers = {"Authorization": f"Bearer {product.agent_token()}"}
    url = f"{product.url}/agent/v1/{path}"
    return httpx.post(url, json=body, headers=headers, trust_env=False)


def is_answering(program: Program, job_id: str) -> bool:
    try:
        return bool(program.job(job_id))
    except httpx.HTTPError:
        return False


@contextmanager
def browser_socket(product: Product, artist: Artist) -> Iterator[ClientConnection]:
    """The socket of a page; tries again while nobody listens, as the page does."""
    url = f"ws://{urlsplit(product.url).netloc}/ws/w/{product.workspace}/"
    headers = {"Cookie": f"sessionid={artist.cookie}"}
    found: list[ClientConnection] = []

    def try_once() -> bool:
        try:
            found.append(
                connect(
                    url,
                    additional_headers=headers,
                    origin=Origin(product.url),
                    proxy=None,
                    compression=None,
                )
            )
        except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
            return False
        return True

    assert wait_until(try_once, RECOVERED_WITHIN_S, every_s=0.2)
    with found[0] as socket:
        yield socket


def snapshot(socket: ClientConnection) -> Json:
    """The first thing that a socket says."""
    message = message_of(socket.recv(timeout=10))
    assert message is not None and message["type"] == "snapshot"
    return message


def jobs_in(message: Json) -> set[str]:
    return {job["id"] for job in message["jobs"]}


def messages(socket: ClientConnection) -> list[Json]:
    """All that has been said so far; previews are left out."""
    heard: list[Json] = []
    while True:
        try:
            message = message_of(socket.recv(timeout=0.5))
        except TimeoutError:
            return heard
        if message is not None:
            heard.append(message)
