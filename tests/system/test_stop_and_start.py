"""Stopped in the middle of work and started again: nothing is lost, and it takes seconds."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from launcher.ports import is_free
from launcher.process import command_line

from .people import Program
from .product import NAMES, Product

pytestmark = pytest.mark.slow_process


def wait_for_end(program: Program, job_id: str) -> int:
    return program.http.get(f"jobs/{job_id}", headers={"Prefer": "wait=60"}).status_code


def test_stop_is_clean_and_the_next_start_goes_on(
    product: Product, program: Program, record_property: Callable[[str, object], None]
) -> None:
    job = program.submit(num_inference_steps=60, num_images_per_prompt=4)["id"]
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(wait_for_end(program, job)))
    waiting.start()
    program.wait_for_step(job, 5, index=1)
    before, password = program.pictures(), product.password
    pids = [product.pid(name) for name in NAMES]

    began, mark = time.monotonic(), len(product.lines)
    assert product.stop(signal.SIGINT) == 0
    record_property("Ctrl-C during work: until it has stopped", time.monotonic() - began)

    said = "".join(product.lines[mark:])
    order = re.findall(r"studio +\| (\w+) (has stopped|was killed)", said)
    assert order == [(name, "has stopped") for name in ("agent", "worker", "dispatcher", "web")]
    assert said.endswith("The studio has stopped.\n")
    assert "Traceback" not in said
    waiting.join(1)
    assert answers == [httpx.codes.ACCEPTED]  # told to ask again, not cut off
    assert not any(command_line(pid) for pid in pids)
    assert is_free(product.port)
    assert not (product.postgres / "postmaster.pid").exists()

    record_property("started again: until it is ready", product.up())
    assert product.password == password
    ended = program.end_of(job)
    assert ended["status"] == "succeeded", ended["error"]
    assert product.attempts(job) == ["failed", "succeeded"]  # handed back, not lost
    assert [output["index"] for output in ended["outputs"]] == [0, 1, 2, 3]
    after = program.pictures()
    assert before.items() <= after.items()
    oldest = program.http.get(f"outputs/{min(before)}").json()
    assert program.http.get(oldest["picture_url"]).status_code == 200
