"""How an agent leaves: told to, killed, or cut off."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuagent.protocol.messages import ModelRef

from .agent_process import AgentProcess
from .support import ROOT, FakeStudio, Valkey, wait_until

MANY = {"prompt": "a mug", "num_inference_steps": 30, "num_images_per_prompt": 16}


def test_agent_told_to_leave_finishes_the_picture_and_hands_back_the_rest(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path, store: Path
) -> None:
    # Given one attempt in the making, one waiting and one not yet taken
    agent = AgentProcess(
        tmp_path, studio, valkey, STUDIO_AGENT_DRAIN_SECONDS="60", STUDIO_AGENT_BATCH="1"
    )
    try:
        running, waiting, later = (studio.add_attempt(house_ref, MANY) for _ in range(3))
        agent.send(running)
        wait_until(lambda: studio.progress_of(running), seconds=60, what="the first step")
        agent.send(waiting)
        agent.send(later)
        wait_until(lambda: running.commits and waiting.claims, seconds=60, what="the first picture")
        made = len(running.commits)
        # When the agent is told to leave
        agent.process.send_signal(signal.SIGTERM)
        # Then it says so while it still works, so that nothing more is sent to it,
        wait_until(
            lambda: studio.heartbeats[-1]["leaving"], seconds=5, what="the word that it goes"
        )
        assert agent.process.poll() is None
        # and leaves in good order
        assert agent.process.wait(40) == 0
        # with the picture in hand stored, and what remains handed back
        assert made <= len(running.commits) <= made + 3
        for attempt in (running, waiting):
            assert attempt.finish is not None
            assert attempt.finish["status"] == "failed"
            assert attempt.finish["error"]["code"] == "agent.lost"
        assert (waiting.commits, later.claims) == ({}, [])
        for commit in running.commits.values():
            assert all((store / f["artifact_id"]).exists() for f in commit["files"])
        assert not list(store.glob(".tmp-*"))
        assert studio.heartbeats[-1]["ready"] is True or studio.heartbeats[-1]["warm"]
    finally:
        agent.close()


def test_what_comes_while_it_leaves_is_handed_back_at_once(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> None:
    # Given an agent that still finishes a long picture
    agent = AgentProcess(
        tmp_path, studio, valkey, STUDIO_AGENT_DRAIN_SECONDS="60", STUDIO_AGENT_BATCH="1"
    )
    try:
        running = studio.add_attempt(
            house_ref, {"prompt": "a mug", "num_inference_steps": 150, "width": 256, "height": 256}
        )
        later = studio.add_attempt(house_ref, MANY)
        agent.send(running)
        wait_until(lambda: studio.progress_of(running), seconds=60, what="the first step")
        agent.process.send_signal(signal.SIGTERM)
        wait_until(lambda: studio.heartbeats[-1]["leaving"], seconds=5)
        # When one more message comes
        agent.send(later)
        # Then somebody else can have it before its lease runs out
        wait_until(lambda: later.finish, seconds=5, what="the handing back")
        assert running.finish is None
        assert later.claims == []
        assert later.finish is not None
        assert later.finish["error"] == {"code": "agent.lost", "data": {"reason": "leaving"}}
        assert agent.process.wait(60) == 0
        assert running.finish is not None
        assert running.finish["status"] == "succeeded"
    finally:
        agent.close()


def test_picture_that_does_not_fit_into_the_notice_is_not_waited_for(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> None:
    agent = AgentProcess(tmp_path, studio, valkey, STUDIO_AGENT_DRAIN_SECONDS="5")
    try:
        steps = {"num_inference_steps": 150, "width": 768, "height": 768}
        running = studio.add_attempt(house_ref, {"prompt": "a mug", **steps})
        agent.send(running)
        wait_until(
            lambda: any(m["step"] >= 6 for m in studio.progress_of(running)),
            seconds=120,
            what="the sixth step",
        )
        agent.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        wait_until(lambda: running.finish, seconds=10, what="the handing back")
        assert time.monotonic() - began < 4  # not the whole notice
        assert running.finish is not None
        assert running.finish["error"]["code"] == "agent.lost"
        assert agent.process.wait(20) == 0
    finally:
        agent.close()


def test_agent_killed_in_the_middle_leaves_nothing_half_written(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path, store: Path
) -> None:
    # Given an agent that is killed while it works
    agent = AgentProcess(tmp_path, studio, valkey)
    attempt = studio.add_attempt(house_ref, MANY)
    try:
        agent.send(attempt)
        wait_until(lambda: attempt.commits, seconds=60, what="the first picture")
    finally:
        agent.close()
    attempt.is_unwanted = True
    # Then what was committed is whole
    for commit in attempt.commits.values():
        for file in commit["files"]:
            assert (store / file["artifact_id"]).stat().st_size == file["sealed_bytes"]
    # and its successor, with the same cache, works at once
    successor = AgentProcess(tmp_path, studio, valkey)
    try:
        again = studio.add_attempt(house_ref, {"prompt": "a mug", "num_inference_steps": 2})
        assert successor.run(again, seconds=60)["status"] == "succeeded"
        boots = {register["boot_id"] for register in studio.registers}
        assert len(boots) >= 2
    finally:
        successor.close()


def test_agent_waits_for_the_studio_and_can_be_told_to_stop_waiting(
    studio: FakeStudio, valkey: Valkey, tmp_path: Path
) -> None:
    before = len(studio.registers)
    studio.is_down = True
    agent = AgentProcess(tmp_path, studio, valkey)
    try:
        wait_until(lambda: "not_registered" in agent.log.read_text(), what="the first try")
        agent.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert agent.process.wait(20) == 0
        assert time.monotonic() - began < 10
        assert len(studio.registers) == before
    finally:
        studio.is_down = False
        agent.close()


def test_agent_that_is_not_configured_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpuagent"],
        cwd=ROOT,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "STUDIO_URL is not set\n"


@pytest.mark.parametrize("module", ["gpuagent.__main__", "gpuagent.protocol.messages"])
def test_agent_imports_no_django_and_protocol_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print(sorted(m for m in ('django', 'torch', 'diffusers', 'dramatiq') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = {"gpuagent.__main__": "['dramatiq']", "gpuagent.protocol.messages": "[]"}[module]
    assert done.stdout.strip() == loaded
