"""Canceling takes effect within a step, and the agent is free at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from .people import Program

pytestmark = pytest.mark.slow_process


def test_canceled_job_ends_at_once_and_the_next_is_made(
    program: Program, record_property: Callable[[str, object], None]
) -> None:
    job = program.submit(num_inference_steps=150, num_images_per_prompt=4)["id"]
    program.wait_for_step(job, 40)

    canceled_at = time.monotonic()
    program.cancel(job)
    ended = program.end_of(job)
    took_s = time.monotonic() - canceled_at

    record_property("canceled: until the job has ended", took_s)
    assert (ended["status"], ended["outputs"]) == ("canceled", [])
    assert took_s < 2.0
    following = program.submit(wait=10)
    assert following["status"] == "succeeded"
    record_property("canceled: until the next picture is there", time.monotonic() - canceled_at)
    assert program.cancel(job)["status"] == "canceled"
