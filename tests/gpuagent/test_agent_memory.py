"""The real agent process in little memory: by plan, and when memory runs out all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.protocol.messages import ModelRef

from .agent_process import AgentProcess
from .support import FakeStudio, Valkey, wait_until

MIB = 1024**2
BIG = {"prompt": "a mug", "num_inference_steps": 2, "width": 384, "height": 384}


@pytest.fixture
def small_agent(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> Iterator[AgentProcess]:
    """An agent that may use 300 MiB beside what every process needs, with a warm model."""
    studio.preload = (house_ref,)
    memory = str(OVERHEAD_BYTES + 300 * MIB)
    agent = AgentProcess(tmp_path, studio, valkey, STUDIO_AGENT_MEMORY_BYTES=memory)
    yield agent
    agent.close()


def test_larger_picture_is_made_in_tiles_and_says_so(
    small_agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    small = studio.add_attempt(house_ref, {**BIG, "width": 128, "height": 128})
    big = studio.add_attempt(house_ref, BIG)
    for attempt in (small, big):
        assert small_agent.run(attempt, seconds=90)["status"] == "succeeded"
    assert "memory" not in small.commits[0]["manifest"]["engine"]
    assert big.commits[0]["manifest"]["engine"]["memory"] == "vae_tiles"
    assert big.finish is not None
    assert big.finish["timings"]["load_source"] == "gpu"
    assert 100 * MIB < big.finish["timings"]["peak_memory_bytes"] < 4_000 * MIB
    assert 1 * MIB < big.finish["timings"]["model_bytes"] < 200 * MIB
    # and what they took is kept for the plans to come, and told
    seen = json.loads((small_agent.log.parent / "cache" / "memory.json").read_text())["seen"]
    assert set(seen) == {f"{house_ref.digest}/alone/{label}" for label in ("", "vae_tiles")}
    wait_until(
        lambda: studio.heartbeats[-1]["telemetry"].get("plans_checked") == 2, what="a heartbeat"
    )


def test_too_large_picture_is_refused_with_the_size_that_fits(
    small_agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    huge = studio.add_attempt(house_ref, {**BIG, "width": 2048, "height": 2048})
    finish = small_agent.run(huge, seconds=90)
    assert (finish["status"], finish["error"]["code"]) == ("failed", "gpu.does_not_fit")
    side = finish["error"]["data"]["largest_side"]
    assert 384 <= side < 2048
    fitting = studio.add_attempt(house_ref, {**BIG, "width": side, "height": side})
    assert small_agent.run(fitting, seconds=200)["status"] == "succeeded"


@dataclass(frozen=True)
class LargeAgent:
    """An agent that believes to have plenty, and the file that says where it ends."""

    process: AgentProcess
    limit: Path

    def limit_to(self, tensor_bytes: int) -> None:
        self.limit.write_text(str(tensor_bytes))


@pytest.fixture
def large_agent(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> Iterator[LargeAgent]:
    studio.preload = (house_ref,)
    before = len(studio.heartbeats)
    limit = tmp_path / "largest"
    agent = AgentProcess(
        tmp_path,
        studio,
        valkey,
        STUDIO_AGENT_MEMORY_BYTES=str(8 * 1024 * MIB),
        PYTHONPATH=str(Path(__file__).parent / "shortage"),
        SHORTAGE_FILE=str(limit),
    )
    wait_until(
        lambda: any(h["ready"] for h in studio.heartbeats[before:]), seconds=90, what="warmth"
    )
    yield LargeAgent(agent, limit)
    agent.close()


def test_when_memory_runs_out_a_cheaper_plan_makes_the_picture(
    large_agent: LargeAgent, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, BIG)
    large_agent.limit_to(8 * MIB)
    finish = large_agent.process.run(attempt, seconds=200)
    assert finish["status"] == "succeeded", finish["error"]
    assert attempt.commits[0]["manifest"]["engine"]["memory"].startswith("vae_tiles")
    assert "attempt.cheaper" in large_agent.process.log.read_text()


def test_when_that_runs_out_too_the_failure_has_numbers_to_lower(
    large_agent: LargeAgent, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, BIG)
    large_agent.limit_to(1024)
    finish = large_agent.process.run(attempt, seconds=200)
    assert finish["error"]["code"] == "gpu.out_of_memory", finish["error"]
    data = finish["error"]["data"]
    assert (data["width"], data["height"]) == (384, 384)
    assert 0 < data["largest_side"] < 384
    assert data["needed_bytes"] > 0
    # and the agent lives on
    large_agent.limit.unlink()
    again = studio.add_attempt(house_ref, BIG)
    assert large_agent.process.run(again, seconds=90)["status"] == "succeeded"
