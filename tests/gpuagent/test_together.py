"""Who goes into a batch, and what becomes of all when it fails: by the runner in this process."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.manifest import PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import FileKind

from .in_process import AgentInside
from .support import Attempt, FakeStudio, model_ref, wait_until
from .tiny_models import FAMILIES

ASKED: dict[str, Any] = {"width": 128, "height": 128, "num_inference_steps": 2}


@pytest.fixture
def agents(studio: FakeStudio, tmp_path: Path) -> Iterator[list[AgentInside]]:
    """Those that a test makes; they are closed after it."""
    made: list[AgentInside] = []
    yield made
    for agent in made:
        agent.close()


def make_agent(agents: list[AgentInside], studio: FakeStudio, engine: Engine) -> AgentInside:
    folder = studio.store.parent / f"agent-{len(agents)}-{id(agents)}"
    agents.append(AgentInside(folder, studio, engine, models_root=Path("/"), batch=4))
    return agents[-1]


def asked_for(studio: FakeStudio, ref: ModelRef, count: int) -> list[Attempt]:
    return [
        studio.add_attempt(ref, {**ASKED, "prompt": f"a mug {n}", "seed": n}, may_batch=True)
        for n in range(count)
    ]


def run_together(agent: AgentInside, attempts: list[Attempt]) -> list[dict[str, Any]]:
    """All of them wait before the first has its turn."""
    ends: list[dict[str, Any]] = []
    assert agent.compute.take_turn(lambda: None)
    running = threading.Thread(target=lambda: ends.extend(agent.run(attempts)))
    running.start()
    wait_until(lambda: agent.waiting == len(attempts), what="all to wait")
    agent.compute.end_turn()
    running.join(60)
    return ends


def batches(studio: FakeStudio, attempts: list[Attempt]) -> list[int]:
    """How many were made at once, by the manifests."""
    found = []
    for attempt in attempts:
        data = attempt.open_file(studio.store, 0, FileKind.PICTURE)
        with Image.open(io.BytesIO(data)) as opened:
            found.append(json.loads(opened.info[PNG_KEY])["engine"]["batch"])
    return found


def test_all_that_wait_go_up_to_the_limit(
    agents: list[AgentInside], studio: FakeStudio, engine: Engine, house_ref: ModelRef
) -> None:
    attempts = asked_for(studio, house_ref, 6)
    ends = run_together(make_agent(agents, studio, engine), attempts)
    assert {end["status"] for end in ends} == {"succeeded"}
    assert sorted(batches(studio, attempts)) == [2, 2, 4, 4, 4, 4]


def test_no_more_than_fit_without_a_measure(
    agents: list[AgentInside], studio: FakeStudio, engine: Engine, house_ref: ModelRef
) -> None:
    # Given memory in which a batch of six could be denoised only with a measure
    asking = make_agent(agents, studio, engine)
    asking.models.fetch(house_ref)
    recipe = parse_recipe({**ASKED, "prompt": "a mug", "model": house_ref.digest})
    # Decoding one takes about as much as denoising three.
    needs = [asking.models.plan(house_ref, recipe, batch=n).needed_bytes for n in (1, 3, 4)]
    small = replace(engine, memory_bytes=(needs[1] + needs[2]) // 2)
    # When four wait
    attempts = asked_for(studio, house_ref, 4)
    ends = run_together(make_agent(agents, studio, small), attempts)
    # Then three go together, and none needs the measure
    assert {end["status"] for end in ends} == {"succeeded"}
    assert sorted(batches(studio, attempts)) == [1, 3, 3, 3]


def test_if_a_batch_fails_each_is_made_alone(
    agents: list[AgentInside],
    studio: FakeStudio,
    engine: Engine,
    house_ref: ModelRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def fail(_model: object, members: list[object], _on_step: object) -> None:
        tried.append(len(members))
        raise MemoryError

    monkeypatch.setattr(StableDiffusion15, "denoise_together", fail)
    attempts = asked_for(studio, house_ref, 4)
    ends = run_together(make_agent(agents, studio, engine), attempts)
    assert {end["status"] for end in ends} == {"succeeded"}
    assert tried == [4]
    assert batches(studio, attempts) == [1, 1, 1, 1]


@pytest.mark.parametrize("family", ["sdxl", "sd3 without T5"])
def test_of_other_families_too_each_is_the_same_to_the_eye_and_says_how_it_was_made(
    family: str, agents: list[AgentInside], studio: FakeStudio, engine: Engine, tmp_path: Path
) -> None:
    architecture, save = FAMILIES[family]
    save(tmp_path / "model")
    ref = model_ref(tmp_path / "model", name=family, architecture=architecture)
    agent = make_agent(agents, studio, engine)
    asked = {"width": 64, "height": 64, "num_inference_steps": 3, "sampler": "euler"}

    def attempts(*, may_batch: bool) -> list[Attempt]:
        return [
            studio.add_attempt(
                ref, {**asked, "prompt": f"a mug {n}", "seed": n}, may_batch=may_batch
            )
            for n in range(3)
        ]

    alone, together = attempts(may_batch=False), attempts(may_batch=True)
    for ends in (agent.run(alone), run_together(agent, together)):
        assert [end["status"] for end in ends] == ["succeeded"] * 3, ends
    for one, other in zip(alone, together, strict=True):
        (pixels, engine_said), (its_pixels, it_said) = (
            picture_of(each, studio) for each in (one, other)
        )
        assert (engine_said["batch"], it_said["batch"]) == (1, 3)
        assert np.abs(pixels.astype(int) - its_pixels).max() <= 2


def picture_of(attempt: Attempt, studio: FakeStudio) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The pixels and what the manifest says of the engine."""
    data = attempt.open_file(studio.store, 0, FileKind.PICTURE)
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened), json.loads(opened.info[PNG_KEY])["engine"]
