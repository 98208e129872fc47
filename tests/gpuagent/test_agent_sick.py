"""An agent that takes itself out, whole and in this process, against a real web side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuagent.protocol.messages import ModelRef
from gpuagent.runner.agent import Agent
from gpuagent.runner.health import SickCode
from gpuagent.runner.settings import Credentials, Settings

from .support import HOUSE, TOKEN, FakeStudio, wait_until

WORK = {"prompt": "a mug", "num_inference_steps": 2}


@pytest.fixture
def agent(studio: FakeStudio, tmp_path: Path) -> Iterator[Agent]:
    settings = Settings.from_env(
        {
            "STUDIO_URL": studio.url,
            "STUDIO_AGENT_CREDENTIALS": str(_credentials(tmp_path)),
            "STUDIO_AGENT_CACHE": str(tmp_path / "cache"),
            "STUDIO_AGENT_STORE_ROOT": str(studio.store),
            "STUDIO_AGENT_MODELS_ROOT": str(HOUSE.parent),
            "STUDIO_AGENT_LABELS": "Large,fp8",
            "STUDIO_AGENT_THREADS": "1",
            "STUDIO_HEARTBEAT_SECONDS": "0.1",
        }
    )
    assert isinstance(settings.credentials, Credentials)
    running = Agent(settings)
    assert running.start(threading.Event())
    yield running
    running.drain(0.1)
    running.close()


def _credentials(folder: Path) -> Path:
    path = folder / "credentials.json"
    path.write_text(f'{{"agent_id": "agt_1", "token": "{TOKEN}", "namespace": "agent:agt_1"}}')
    return path


def beats_since(studio: FakeStudio, count: int) -> list[str]:
    return [beat["sick_code"] for beat in studio.heartbeats[count:]]


def test_agent_says_what_it_is_and_how_it_is(agent: Agent, studio: FakeStudio) -> None:
    assert studio.registers[-1]["gpu_class"] == "cpu"
    assert studio.registers[-1]["labels"] == ["large", "fp8"]
    before = len(studio.heartbeats)
    wait_until(lambda: len(studio.heartbeats) > before + 2, seconds=10)
    telemetry = studio.heartbeats[-1]["telemetry"]
    assert telemetry["memory_used_bytes"] > 0
    assert telemetry["throttled"] == []
    assert telemetry["loads"] == {"gpu": 0, "host": 0, "disk": 0, "store": 0}


def test_hanging_attempt_is_handed_back_and_nothing_more_is_taken(
    agent: Agent, studio: FakeStudio, house_ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt in hand whose next step takes much longer than those before
    monkeypatch.setattr("gpuagent.runner.health.HANG_LEAST_SECONDS", 0.5)
    hanging, next_one = (studio.add_attempt(house_ref, WORK) for _ in range(2))
    held = agent._held.take(hanging.id, 1)
    assert held is not None
    agent._health.begin("kind", 50)
    for _ in range(6):
        agent._health.step()
    # Then it goes back at once, and the agent says why it takes nothing more
    before = len(studio.heartbeats)
    wait_until(lambda: hanging.finish, seconds=10, what="the handing back")
    assert hanging.finish is not None
    assert hanging.finish["error"] == {"code": "agent.lost", "data": {"reason": "hang"}}
    wait_until(lambda: "gpu.hang" in beats_since(studio, before), seconds=10, what="the word")
    agent.runner.run(next_one.id, 1)
    assert next_one.claims == []
    assert next_one.finish is not None
    assert next_one.finish["error"]["code"] == "agent.lost"
    agent._held.drop(held)


def test_person_can_say_that_it_is_well_again(
    agent: Agent, studio: FakeStudio, house_ref: ModelRef
) -> None:
    agent._health.be_sick(SickCode.ECC_ERRORS)
    before = len(studio.heartbeats)
    wait_until(lambda: "gpu.ecc_errors" in beats_since(studio, before), seconds=10)
    registered = len(studio.registers)
    agent.recover()
    wait_until(lambda: studio.heartbeats[-1]["sick_code"] == "", seconds=10)
    assert len(studio.registers) == registered + 1  # so that the studio gives it work again
    attempt = studio.add_attempt(house_ref, WORK)
    agent.runner.run(attempt.id, 1)
    assert attempt.finish is not None
    assert attempt.finish["status"] == "succeeded"
    assert attempt.finish["timings"]["load_source"] == "store"
    wait_until(lambda: studio.heartbeats[-1]["residents"], seconds=10)
    places = {resident["place"] for resident in studio.heartbeats[-1]["residents"]}
    assert places == {"gpu", "disk"}


def test_studio_is_asked_for_the_queue(agent: Agent, studio: FakeStudio) -> None:
    assert agent.queue_url() == "redis://agt_1:granted@127.0.0.1:6379/0"
    studio.is_down = True
    try:
        assert agent.queue_url() is None
    finally:
        studio.is_down = False
