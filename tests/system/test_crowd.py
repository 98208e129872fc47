"""Many programs that wait at once keep neither the agent nor anybody else from working."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from .people import Program
from .product import Product

pytestmark = pytest.mark.slow_process

WAITERS = 60


def test_a_crowd_that_waits_gets_all_its_pictures(product: Product, program: Program) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(WAITERS) as crowd:
        asked = [
            crowd.submit(program.submit, wait=60, num_inference_steps=2) for _ in range(WAITERS)
        ]
        time.sleep(1.0)
        alive = httpx.get(f"{product.url}/healthz", timeout=10, trust_env=False)
        jobs = [future.result()["id"] for future in asked]

    assert alive.status_code == httpx.codes.OK
    ends = {program.end_of(job, timeout_s=90)["status"] for job in jobs}
    assert ends == {"succeeded"}
    assert len(set(jobs)) == WAITERS
    assert time.monotonic() - began < 120
