"""How long people wait: a second `make up` until it is ready, a cold agent until its first picture.

The packages and the front end are there already, as on any day but the first.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks._client import signed_in
from benchmarks._report import clean_up_on_signals, finish, load, say
from benchmarks._studio import (
    READY_TIMEOUT_S,
    bare_environment,
    running_studio,
    throwaway_layout,
)
from launcher.layout import Layout
from launcher.process import die_with_parent
from launcher.readiness import ask

STOP_TIMEOUT_S = 60.0
_RECIPE = {
    "prompt": "photo of a red mug on a wooden table",
    "width": 128,
    "height": 128,
    "num_inference_steps": 20,
    "seed": 1,
}


def run(times: int) -> dict[str, float | int | str | None]:
    """Start once to create everything, then measure."""
    before = load()
    with throwaway_layout() as layout:
        first = _seconds_to_ready(layout)
        say(f"first start: ready after {first:.1f} s, load {before}")
        ready, pictures = [], []
        for _ in range(times):
            ready.append(_seconds_to_ready(layout))
            say(f"second start: ready after {ready[-1]:.1f} s")
            pictures.append(_seconds_to_first_picture(layout))
            say(f"cold agent: first picture after {pictures[-1]:.1f} s")
    return {
        "ready_s": median(ready),
        "cold_first_picture_s": median(pictures),
        "first_ready_s": first,
        "times": times,
        "load_before": before,
    }


def _seconds_to_ready(layout: Layout) -> float:
    """Run `make up` in the state folder until it says it is ready, then stop it."""
    with _launcher(layout) as launcher:
        began = time.monotonic()
        while not ask(layout.port).ready:
            if launcher.poll() is not None or time.monotonic() - began > READY_TIMEOUT_S:
                raise RuntimeError("`make up` did not get ready.")
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def _launcher(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    own = {"STUDIO_STATE": str(layout.state), "STUDIO_PORT": str(layout.port)}
    process = subprocess.Popen(
        ["python3", "-m", "launcher", "up"],
        cwd=layout.root,
        env={**bare_environment(), **own},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _seconds_to_first_picture(layout: Layout) -> float:
    """From the start of the agent's process to the picture of a job that was waiting for it."""
    with running_studio(layout, with_agent=False) as studio, signed_in(studio) as artist:
        job = artist.submit(_RECIPE)
        began = time.time()
        agent = subprocess.Popen(
            [str(layout.python), "-m", "gpuagent"],
            cwd=layout.root,
            env=dict(studio.env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        try:
            announced = artist.page.wait_for(
                job, lambda heard: heard.pictures.get(1), timeout_s=READY_TIMEOUT_S
            )
        finally:
            os.kill(agent.pid, signal.SIGTERM)
            agent.wait(STOP_TIMEOUT_S)
    return announced - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="three times instead of once")
    arguments = parser.parse_args()
    clean_up_on_signals()
    finish(run(3 if arguments.full else 1))


if __name__ == "__main__":
    main()
