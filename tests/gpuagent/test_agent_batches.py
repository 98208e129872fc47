"""Attempts of different jobs made in one batch, by the whole agent as a process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpuagent.protocol.manifest import PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import AssetKind, FileKind

from .agent_process import AgentProcess
from .support import NEON_FILE, Attempt, FakeStudio, Valkey, adapter_ref, wait_until

NEON = adapter_ref(NEON_FILE, AssetKind.LORA, "neon sign of")
LONG = {"prompt": "a red mug", "seed": 1, "num_inference_steps": 40, "width": 192, "height": 192}
SHORT = {"num_inference_steps": 6, "width": 64, "height": 64}
PROMPTS = ("a red mug", "a blue cat", "a green tree", "a yellow star")


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio,
    valkey: Valkey,
    house_ref: ModelRef,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AgentProcess]:
    """One agent for all tests of this module, warm."""
    studio.preload = (house_ref,)
    process = AgentProcess(tmp_path_factory.mktemp("agent"), studio, valkey)
    try:
        wait_until(
            lambda: studio.heartbeats and studio.heartbeats[-1]["ready"],
            seconds=60,
            what="readiness",
        )
        yield process
    finally:
        process.close()


def picture(
    attempt: Attempt, store: Path
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], dict[str, object]]:
    """The pixels and what the manifest says of the engine."""
    with Image.open(io.BytesIO(attempt.open_file(store, 0, FileKind.PICTURE))) as opened:
        return np.asarray(opened), json.loads(opened.info[PNG_KEY])["engine"]


def give(
    agent: AgentProcess,
    studio: FakeStudio,
    house_ref: ModelRef,
    recipes: list[Mapping[str, object]],
    *,
    may_batch: bool = True,
    adapters: tuple[ModelRef, ...] = (),
) -> list[Attempt]:
    """Attempts that all wait while another is made."""
    busy = studio.add_attempt(house_ref, LONG)
    agent.send(busy)
    wait_until(lambda: studio.progress_of(busy), what="the work before")
    attempts = [
        studio.add_attempt(house_ref, recipe, may_batch=may_batch, adapters=adapters)
        for recipe in recipes
    ]
    for attempt in attempts:
        agent.send(attempt)
    wait_until(lambda: all(attempt.claims for attempt in attempts), what="the claims")
    assert busy.finish is None
    return attempts


def statuses(attempts: list[Attempt]) -> list[str]:
    """How they ended."""
    wait_until(lambda: all(attempt.finish for attempt in attempts), what="the ends")
    return [str((attempt.finish or {})["status"]) for attempt in attempts]


def recipes(**more: object) -> list[Mapping[str, object]]:
    return [
        {**SHORT, "prompt": prompt, "seed": seed, **more} for seed, prompt in enumerate(PROMPTS)
    ]


def test_jobs_that_wait_are_made_together_and_say_so(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    # Given what each picture is when it is made alone
    alone = [studio.add_attempt(house_ref, recipe) for recipe in recipes()]
    for attempt in alone:
        assert agent.run(attempt)["status"] == "succeeded"
    # When the same wait together
    together = give(agent, studio, house_ref, recipes())
    assert statuses(together) == ["succeeded"] * 4
    # Then they are made at once, are the same to the eye, and their manifests say how it was
    for one, other in zip(alone, together, strict=True):
        pixels, engine = picture(one, store)
        batched, its_engine = picture(other, store)
        assert engine["batch"] == 1
        assert its_engine == {**engine, "batch": 4}
        assert np.abs(pixels.astype(int) - batched).max() <= 2
        timings = (other.finish or {})["timings"]
        assert timings["batch"] == 4
        assert timings["denoise"] > 0
        assert timings["planned_growth_bytes"] > 0
        assert timings["growth_bytes"] > 0
        # and each was told of on its own, with a preview of its own
        assert studio.progress_of(other)[-1]["step"] == 6
        assert any(frame.subject_id == other.id for _, frame in studio.previews)


def test_who_cancels_leaves_the_others_alone(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    # Given four that are being made together, slowly
    slow = recipes(num_inference_steps=60, width=192, height=192)
    attempts = give(agent, studio, house_ref, slow)
    wait_until(lambda: all(studio.progress_of(each) for each in attempts), what="the batch")
    # When one of them is canceled
    studio.send_cancel(attempts[0])
    wait_until(lambda: attempts[0].finish, what="its end")
    # Then it ends at once, with no picture, and the others go on to theirs
    assert not any(attempt.finish for attempt in attempts[1:])
    assert statuses(attempts) == ["canceled", *["succeeded"] * 3]
    assert not attempts[0].commits
    for attempt in attempts[1:]:
        assert picture(attempt, store)[1]["batch"] == 4


def test_what_must_be_exact_or_differs_is_made_alone(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    exact = give(agent, studio, house_ref, recipes()[:2], may_batch=False)
    assert statuses(exact) == ["succeeded"] * 2
    first, second = recipes()[:2]
    unlike = give(agent, studio, house_ref, [first, {**second, "num_inference_steps": 5}])
    assert statuses(unlike) == ["succeeded"] * 2
    several = give(agent, studio, house_ref, [first, {**second, "num_images_per_prompt": 2}])
    assert statuses(several) == ["succeeded"] * 2
    for attempt in (*exact, *unlike, *several):
        assert picture(attempt, store)[1]["batch"] == 1


def test_prompts_of_another_length_are_made_too(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    first, second, third, _fourth = recipes()
    long = {**second, "prompt": "a blue cat " * 60}
    attempts = give(agent, studio, house_ref, [first, long, third])
    assert statuses(attempts) == ["succeeded"] * 3
    assert sorted(str(picture(each, store)[1]["batch"]) for each in attempts) == ["1", "2", "2"]


def test_a_lora_lies_over_all_of_the_batch_and_is_gone_afterwards(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    laid = recipes(loras=[{"digest": NEON.digest, "weight": 1.0}])
    attempts = give(agent, studio, house_ref, laid, adapters=(NEON,))
    assert statuses(attempts) == ["succeeded"] * 4
    plain = studio.add_attempt(house_ref, recipes()[0])
    agent.run(plain)
    with_lora = studio.add_attempt(house_ref, laid[0], adapters=(NEON,))
    agent.run(with_lora)
    made, engine = picture(attempts[0], store)
    assert engine["batch"] == 4
    assert np.abs(made.astype(int) - picture(with_lora, store)[0]).max() <= 2
    assert np.abs(made.astype(int) - picture(plain, store)[0]).max() > 50
