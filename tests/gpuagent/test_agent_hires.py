"""Pictures that are drawn, made larger and drawn again, by the whole agent as a process."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind
from tests.upscalers import make_upscaler_folder

from .agent_process import AgentProcess
from .support import Attempt, FakeStudio, Valkey, model_ref, wait_until

MUG: dict[str, Any] = {
    "prompt": "photo of a red mug on a wooden table",
    "seed": 3,
    "num_inference_steps": 6,
    "guidance_scale": 4,
}
LARGER = {**MUG, "hires_scale": 2, "hires_strength": 0.5, "hires_tile": 128}


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = make_upscaler_folder(tmp_path_factory.mktemp("upscaler"))
    ref = model_ref(folder)
    return replace(ref, architecture=Architecture.ESRGAN, kind=AssetKind.UPSCALER, name="Sharp")


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio,
    valkey: Valkey,
    house_ref: ModelRef,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AgentProcess]:
    """One agent for all tests of this module, warm."""
    studio.preload = (house_ref,)
    process = AgentProcess(
        tmp_path_factory.mktemp("agent"), studio, valkey, STUDIO_AGENT_MODELS_ROOT="/"
    )
    try:
        wait_until(
            lambda: studio.heartbeats and studio.heartbeats[-1]["ready"],
            seconds=60,
            what="readiness",
        )
        yield process
    finally:
        process.close()


def steps_of(studio: FakeStudio, attempt: Attempt) -> list[tuple[int, int]]:
    """What was told of its progress: done, and of how many."""
    return [(m["step"], m["steps"]) for m in studio.progress_of(attempt)]


def made(store: Path, attempt: Attempt, index: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(attempt.open_file(store, index, FileKind.PICTURE)))


def test_it_is_larger_repeats_byte_by_byte_and_leaves_other_jobs_alone(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    attempts = [studio.add_attempt(house_ref, recipe) for recipe in (MUG, LARGER, MUG, LARGER)]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    files = [attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts]
    assert files[:2] == files[2:]
    picture = made(store, attempts[1])
    assert picture.size == (256, 256)
    assert json.loads(picture.info[PNG_KEY])["recipe"]["hires_scale"] == 2
    assert "Hires upscale: 2" in picture.info[INFOTEXT_KEY]


def test_progress_counts_the_steps_of_the_draft_and_every_tile_of_the_rest(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**LARGER, "hires_scale": 3})
    assert agent.run(attempt)["status"] == "succeeded"
    wait_until(
        lambda: (steps_of(studio, attempt) or [(0, 0)])[-1][0] == 6 + 3 * 16, what="the last step"
    )
    told = steps_of(studio, attempt)
    assert {of for _done, of in told} == {6 + 3 * 16}
    done = [number for number, _of in told]
    assert done == sorted(done)
    assert any(number % 16 != 6 and number > 6 for number in done), "tiles within a step are told"
    assert any(frame.subject_id == attempt.id for _at, frame in studio.previews)


def test_an_upscaler_of_the_library_enlarges_between_and_is_named(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef, upscaler: ModelRef
) -> None:
    recipe = {**LARGER, "hires_upscaler": upscaler.digest}
    sharp = studio.add_attempt(house_ref, recipe, adapters=(upscaler,))
    soft = studio.add_attempt(house_ref, LARGER)
    for attempt in (sharp, soft):
        assert agent.run(attempt)["status"] == "succeeded"
    picture = made(store, sharp)
    assert picture.tobytes() != made(store, soft).tobytes()
    assert json.loads(picture.info[PNG_KEY])["adapters"] == [
        {"kind": "upscaler", "name": "Sharp", "digest": upscaler.digest}
    ]
    assert "Hires upscaler: Sharp" in picture.info[INFOTEXT_KEY]


def test_an_upscaler_that_was_not_handed_out_ends_the_attempt(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef, upscaler: ModelRef
) -> None:
    finish = agent.run(studio.add_attempt(house_ref, {**LARGER, "hires_upscaler": upscaler.digest}))
    assert finish["error"]["code"] == "recipe.invalid"


def test_at_strength_0_the_starting_picture_is_only_refined(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    base = studio.add_attempt(house_ref, MUG)
    assert agent.run(base)["status"] == "succeeded"
    source = base.open_file(store, 0, FileKind.PICTURE)
    refined = studio.add_attempt(house_ref, {**LARGER, "strength": 0}, source=source)
    assert agent.run(refined)["status"] == "succeeded"
    assert steps_of(studio, refined)[-1][1] == 3 * 9
    # The draft of the one is what the other starts from, so they are the same picture.
    whole = studio.add_attempt(house_ref, LARGER)
    assert agent.run(whole)["status"] == "succeeded"
    assert made(store, refined).tobytes() == made(store, whole).tobytes()


def test_it_stops_between_two_tiles(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    recipe = {**LARGER, "hires_scale": 4, "hires_steps": 60, "hires_strength": 1}
    attempt = studio.add_attempt(house_ref, recipe)
    agent.send(attempt)
    wait_until(lambda: any(done > 6 for done, _of in steps_of(studio, attempt)), what="a tile")
    began = time.monotonic()
    studio.send_cancel(attempt)
    wait_until(lambda: attempt.finish, what="the end")
    assert (attempt.finish or {})["status"] == "canceled"
    assert time.monotonic() - began < 2, "a step of 36 tiles takes longer"
    assert agent.run(studio.add_attempt(house_ref, MUG))["status"] == "succeeded"
