"""Attempts guided by ControlNets, by the whole agent as a process."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import AssetKind, FileKind

from .agent_process import AgentProcess
from .support import ADAPTERS, Attempt, FakeStudio, Valkey, model_ref, wait_until

EDGES = model_ref(ADAPTERS / "canny", name="Edges", kind=AssetKind.CONTROLNET)
MUG: dict[str, Any] = {"prompt": "photo of a red mug on a beach", "seed": 3}
MUG["num_inference_steps"] = 4
MIB = 1024**2


def drawing() -> bytes:
    picture = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(picture).rectangle((20, 30, 80, 100), fill="red")
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


DRAWING = drawing()
CANNY: dict[str, Any] = {
    "kind": "canny",
    "model": EDGES.digest,
    "image": hashlib.sha256(DRAWING).hexdigest(),
}


def guided(studio: FakeStudio, house: ModelRef, *controls: object, **more: Any) -> Attempt:  # noqa: ANN401 - of the recipe
    recipe = {**MUG, "controls": list(controls), **more}
    return studio.add_attempt(house, recipe, adapters=(EDGES,), pictures=(DRAWING,))


@pytest.fixture
def agent(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> Iterator[AgentProcess]:
    """An agent that may use 200 MiB beside what every process needs, with a warm model."""
    studio.preload = (house_ref,)
    process = AgentProcess(
        tmp_path, studio, valkey, STUDIO_AGENT_MEMORY_BYTES=str(OVERHEAD_BYTES + 200 * MIB)
    )
    wait_until(
        lambda: studio.heartbeats and studio.heartbeats[-1]["ready"], seconds=60, what="readiness"
    )
    yield process
    process.close()


def test_controls_guide_one_job_alone_and_are_told(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    # When jobs with and without control take turns
    twice = (CANNY, {**CANNY, "kind": "scribble", "weight": 0.5, "end": 0.5})
    plain, once, _, _, both = attempts = [
        guided(studio, house_ref, *controls) for controls in ((), (CANNY,), (), (CANNY,), twice)
    ]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    # Then equal recipes have equal files, and others do not
    files = [attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts]
    assert files[:2] == files[2:4]
    assert len({hashlib.sha256(file).digest() for file in files}) == 3
    # and the manifest names the ControlNet once
    with Image.open(io.BytesIO(files[4])) as picture:
        manifest = json.loads(picture.info[PNG_KEY])
        text = picture.info[INFOTEXT_KEY]
    assert manifest["adapters"] == [{"kind": "controlnet", "name": "Edges", "digest": EDGES.digest}]
    assert [use["kind"] for use in manifest["recipe"]["controls"]] == ["canny", "scribble"]
    assert 'ControlNet 1: "Module: scribble, Model: Edges' in text
    assert "Guidance End: 0.5" in text
    # and it is kept beside the model, as the operators see
    wait_until(
        lambda: EDGES.digest in studio.heartbeats[-1]["warm"], what="a heartbeat that says so"
    )
    parts = {each["component"] for each in studio.heartbeats[-1]["residents"]}
    assert "controlnet" in parts
    assert both.finish is not None
    assert plain.finish is not None
    assert once.finish is not None


def test_a_control_leads_both_of_two_drawings(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    larger = {"hires_scale": 2, "hires_strength": 0.2, "hires_tile": 128}
    attempts = [
        guided(studio, house_ref, CANNY),
        guided(studio, house_ref, **larger),
        guided(studio, house_ref, CANNY, **larger),
        guided(studio, house_ref, CANNY, **larger),
    ]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    files = [attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts]
    assert files[2] == files[3]
    # That was not always so: who makes an old one again is told why it is not the same.
    assert [edition(file) for file in files] == [None, None, 2, 2]
    draft, plain, led = (small(file) for file in files[:3])
    assert np.abs(led - draft).mean() < 0.5 * np.abs(plain - draft).mean()


def test_a_finished_picture_is_led_while_it_is_drawn_again(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    larger = {"hires_scale": 1.5, "hires_strength": 0.5, "hires_tile": 128, "strength": 0}
    follows = {"kind": "tile", "model": EDGES.digest}
    of_itself = hashlib.sha256(DRAWING).hexdigest()
    files = []
    for controls in ((), (CANNY,), (follows,), ({**follows, "map": of_itself},)):
        recipe = {**MUG, **larger, "controls": list(controls)}
        attempt = studio.add_attempt(
            house_ref, recipe, source=DRAWING, adapters=(EDGES,), pictures=(DRAWING,)
        )
        assert agent.run(attempt)["status"] == "succeeded"
        files.append(attempt.open_file(store, 0, FileKind.PICTURE))
    plain, led, following, same = (small(file) for file in files)
    assert np.abs(led - plain).mean() > 1
    assert np.abs(following - plain).mean() > 1
    # It is enlarged in the same way, so what follows the picture itself follows this map.
    assert np.array_equal(following, same)


def edition(file: bytes) -> object:
    with Image.open(io.BytesIO(file)) as picture:
        return json.loads(picture.info[PNG_KEY])["engine"].get("edition")


def small(file: bytes) -> Any:  # noqa: ANN401 - an array
    """The picture at the size of a draft."""
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture.convert("RGB").resize((128, 128)), dtype=np.float32)


def test_a_large_picture_with_control_is_made_by_a_cheaper_plan(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    size = {"width": 200, "height": 200, "num_inference_steps": 1}
    plain, with_it = (guided(studio, house_ref, *c, **size) for c in ((), (CANNY,)))
    for attempt in (plain, with_it):
        assert agent.run(attempt, seconds=90)["status"] == "succeeded"
    assert "memory" not in plain.commits[0]["manifest"]["engine"]
    assert with_it.commits[0]["manifest"]["engine"]["memory"] == "vae_tiles"


def test_a_guided_job_is_stopped_within_a_step(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = guided(studio, house_ref, CANNY, num_inference_steps=150)
    agent.send(attempt)
    wait_until(lambda: len(studio.progress_of(attempt)) > 2, what="progress")
    studio.send_cancel(attempt)
    wait_until(lambda: attempt.finish, what="the end")
    assert attempt.finish is not None
    assert attempt.finish["status"] == "canceled"
    assert max(m["step"] for m in studio.progress_of(attempt)) < 150
    assert agent.run(guided(studio, house_ref))["status"] == "succeeded"


def test_what_was_not_handed_out_or_is_none_ends_with_its_reason(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    recipe = {**MUG, "controls": [CANNY]}
    missing = studio.add_attempt(house_ref, recipe, pictures=(DRAWING,))
    no_picture = studio.add_attempt(house_ref, recipe, adapters=(EDGES,))
    spoiled = studio.add_attempt(
        house_ref,
        {**MUG, "controls": [{**CANNY, "image": hashlib.sha256(b"none").hexdigest()}]},
        adapters=(EDGES,),
        pictures=(b"none",),
    )
    model = replace(house_ref, kind=AssetKind.CONTROLNET)
    no_net = studio.add_attempt(
        house_ref,
        {**MUG, "controls": [{**CANNY, "model": model.digest}]},
        adapters=(model,),
        pictures=(DRAWING,),
    )
    codes = [agent.run(each)["error"]["code"] for each in (missing, no_picture, spoiled, no_net)]
    assert codes[:3] == ["adapter.missing", "input.unreadable", "input.unreadable"]
    assert codes[3] in {"adapter.unfit", "model.unreadable"}
