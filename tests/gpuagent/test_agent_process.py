"""The whole agent as a process, against a real Valkey and a small real web side."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol import sealing
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY, canonical
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import FileKind

from .agent_process import AgentProcess, steps_of
from .support import (
    ORGANIZATION,
    TOKEN,
    Attempt,
    FakeStudio,
    Valkey,
    wait_until,
)

CANARY = "CANARY-prompt red mug on a table"
MUG = {"prompt": CANARY, "seed": 3, "num_inference_steps": 8}
LONG = {"prompt": CANARY, "num_inference_steps": 150}


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


def png_of(attempt: Attempt, store: Path, index: int = 0) -> bytes:
    return attempt.open_file(store, index, FileKind.PICTURE)


def test_agent_registers_and_warms_what_it_is_told_to(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    register = studio.registers[0]
    assert register["memory_bytes"] > 0
    assert register["device"].startswith("cpu:")
    assert set(register["fingerprint"]) == {
        *("torch", "diffusers", "transformers", "device", "dtype"),
        *("threads", "attention", "batch", "runtime_image"),
    }
    first, last = studio.heartbeats[0], studio.heartbeats[-1]
    assert (first["ready"], first["warm"]) == (False, [])
    assert (last["ready"], last["warm"]) == (True, [house_ref.digest])
    assert studio.unauthorized == 0


def test_picture_goes_the_whole_way(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    house: StableDiffusion15,
    house_ref: ModelRef,
    engine: Engine,
) -> None:
    # When an attempt of two pictures is sent
    attempt = studio.add_attempt(house_ref, {**MUG, "num_images_per_prompt": 2})
    finish = agent.run(attempt)
    # Then it succeeds, with both pictures committed before
    assert (finish["status"], finish["error"], finish["fence"]) == ("succeeded", None, 1)
    assert sorted(attempt.commits) == [0, 1]
    assert max(attempt.commit_times.values()) <= attempt.finished_at
    assert {"claim", "load", "denoise", "decode", "total"} <= set(finish["timings"])
    recipe = parse_recipe(attempt.assignment.recipe)
    for index in range(2):
        commit = attempt.commits[index]
        picture, thumbnail = commit["files"]
        # and the stored files are what the commit says
        for stored, kind in ((picture, FileKind.PICTURE), (thumbnail, FileKind.THUMBNAIL)):
            data = attempt.open_file(store, index, kind)
            assert stored["kind"] == kind
            assert stored["sha256"] == hashlib.sha256(data).hexdigest()
            assert stored["size_bytes"] == len(data)
            assert stored["sealed_bytes"] == (store / stored["artifact_id"]).stat().st_size
            with Image.open(io.BytesIO(data)) as opened:
                assert (stored["width"], stored["height"]) == opened.size
                assert Image.MIME[opened.format or ""] == stored["media_type"]
        # and the picture carries its manifest, and is what this process makes of the recipe
        with Image.open(io.BytesIO(png_of(attempt, store, index))) as opened:
            pixels = np.asarray(opened)
            assert opened.info[PNG_KEY] == canonical(commit["manifest"])
            assert f"Seed: {3 + index}" in opened.info[INFOTEXT_KEY]
        embeddings = house.encode_prompts(recipe)
        assert np.array_equal(pixels, house.decode(house.denoise(recipe, index, embeddings)))
        assert commit["manifest"]["engine"] == json.loads(json.dumps(dict(engine.fingerprint)))


def test_progress_and_previews_come_up_the_socket(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(
        house_ref, {**MUG, "num_inference_steps": 60, "num_images_per_prompt": 2}
    )
    agent.run(attempt)
    wait_until(lambda: (1, 60) in steps_of(studio, attempt), what="the last step's message")
    mine = [m for _, m in studio.messages if m["attempt_id"] == attempt.id]
    assert mine[0]["type"] == "attempt.started"
    assert [m["seq"] for m in mine] == sorted({m["seq"] for m in mine})
    told = steps_of(studio, attempt)
    assert told == sorted(told)
    assert told[-1] == (1, 60)
    assert {(m["count"], m["steps"]) for m in studio.progress_of(attempt)} == {(2, 60)}
    # Previews open with the attempt's preview key and are small pictures.
    frames = [p for _, p in studio.previews if p.subject_id == attempt.id]
    assert frames
    context = sealing.Context(organization=ORGANIZATION, object_id=attempt.id, kind="preview")
    for frame in frames:
        picture = sealing.open_sealed(frame.payload, key=attempt.preview_key, context=context)
        with Image.open(io.BytesIO(picture)) as opened:
            assert (opened.format, opened.size) == ("WEBP", (160, 160))


def test_same_recipe_gives_the_same_file(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    first, between, again = (
        studio.add_attempt(house_ref, recipe)
        for recipe in (MUG, {**MUG, "sampler": "heun", "seed": 8, "width": 64}, MUG)
    )
    for attempt in (first, between, again):
        agent.run(attempt)
    assert png_of(first, store) == png_of(again, store)
    assert png_of(first, store) != png_of(between, store)


def test_only_missing_pictures_are_made(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(
        house_ref, {**MUG, "num_images_per_prompt": 4, "num_inference_steps": 2}, done=(0, 2)
    )
    assert agent.run(attempt)["status"] == "succeeded"
    assert sorted(attempt.commits) == [1, 3]


def test_starting_picture_is_fetched_and_used(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200), (20, 60, 200)).save(buffer, "PNG")
    attempt = studio.add_attempt(house_ref, {**MUG, "strength": 0.2}, source=buffer.getvalue())
    assert agent.run(attempt)["status"] == "succeeded"
    with Image.open(io.BytesIO(png_of(attempt, store))) as opened:
        mean = np.asarray(opened).mean((0, 1))
    assert mean[2] > mean[0] + 60


def in_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_mask_is_fetched_and_all_else_keeps_its_bytes(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    before = Image.effect_noise((300, 200), 60).convert("RGB")
    mask = Image.new("L", before.size)
    mask.paste(255, (100, 50, 180, 130))
    settings = {"inpaint_area": "masked", "mask_blur": 0, "num_inference_steps": 6}
    attempts = [
        studio.add_attempt(house_ref, {**MUG, **settings}, source=in_png(before), mask=in_png(mask))
        for _ in range(2)
    ]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    with Image.open(io.BytesIO(png_of(attempts[0], store))) as opened:
        changed = (np.asarray(opened) != np.asarray(before)).any(2)
        manifest = json.loads(opened.info[PNG_KEY])
    assert changed.shape == (200, 300)
    assert changed[50:130, 100:180].mean() > 0.9
    assert changed.sum() == changed[50:130, 100:180].sum()
    assert manifest["recipe"]["mask"] == hashlib.sha256(in_png(mask)).hexdigest()
    assert manifest["recipe"]["inpaint_area"] == "masked"
    assert png_of(attempts[0], store) == png_of(attempts[1], store)
    assert [frame for _, frame in studio.previews if frame.subject_id == attempts[0].id]


def test_a_black_mask_is_told(agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef) -> None:
    black = in_png(Image.new("L", (64, 64)))
    attempt = studio.add_attempt(
        house_ref, MUG, source=in_png(Image.new("RGB", (64, 64))), mask=black
    )
    finish = agent.run(attempt)
    assert (finish["status"], finish["error"]["code"]) == ("failed", "mask.empty")


def test_a_mask_that_was_not_handed_out_is_told(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    source = in_png(Image.new("RGB", (64, 64)))
    attempt = studio.add_attempt(house_ref, {**MUG, "mask": "f" * 64}, source=source)
    finish = agent.run(attempt)
    assert (finish["status"], finish["error"]["code"]) == ("failed", "input.unreadable")


def test_files_go_through_the_studio_where_the_store_is_not_a_folder(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**MUG, "num_inference_steps": 2}, over_http=True)
    assert agent.run(attempt)["status"] == "succeeded"
    assert png_of(attempt, store).startswith(b"\x89PNG")


def test_message_that_comes_three_times_is_worked_once(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, MUG)
    agent.send(attempt)
    agent.send(attempt)
    agent.run(attempt)
    # A further attempt shows that the repeated messages are through.
    agent.run(studio.add_attempt(house_ref, {**MUG, "num_inference_steps": 1}))
    assert len(attempt.claims) == 1
    assert list(attempt.commits) == [0]


def test_stale_fence_is_dropped_and_writes_nothing(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, MUG, fence=2)
    agent.send(attempt, fence=1)
    agent.run(studio.add_attempt(house_ref, {**MUG, "num_inference_steps": 1}))
    assert (attempt.claims, attempt.commits, attempt.finish) == ([], {}, None)
    assert not any((store / t.artifact_id).exists() for t in attempt.assignment.targets)


def started(studio: FakeStudio, attempt: Attempt) -> bool:
    return bool(studio.progress_of(attempt))


def test_cancel_over_the_socket_stops_at_once(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**LONG, "num_images_per_prompt": 4})
    agent.send(attempt)
    wait_until(lambda: started(studio, attempt), what="the first step")
    sent_at = time.monotonic()
    studio.send_cancel(attempt)
    wait_until(lambda: attempt.finish, seconds=5, what="the end")
    assert attempt.finish is not None
    assert (attempt.finish["status"], attempt.commits) == ("canceled", {})
    assert attempt.finished_at - sent_at < 1.0


def test_cancel_by_heartbeat_stops_too(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**LONG, "num_images_per_prompt": 16})
    agent.send(attempt)
    wait_until(lambda: started(studio, attempt), what="the first step")
    studio.cancel.add(attempt.id)
    wait_until(lambda: attempt.finish, seconds=10, what="the end")
    assert attempt.finish is not None
    assert attempt.finish["status"] == "canceled"


@pytest.mark.parametrize("by", ["socket", "heartbeat"])
def test_who_is_asked_to_yield_hands_back_the_rest_after_the_picture_in_hand(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef, by: str
) -> None:
    # Given a long attempt whose first picture is made, and one that waits behind it
    many = {"prompt": CANARY, "num_inference_steps": 30, "num_images_per_prompt": 16}
    attempt, behind = studio.add_attempt(house_ref, many), studio.add_attempt(house_ref, MUG)
    agent.send(attempt)
    wait_until(lambda: attempt.commits, what="the first picture")
    agent.send(behind)
    # When the studio asks for the rest
    if by == "socket":
        studio.send_yield(attempt)
    else:
        studio.yields.add(attempt.id)
    wait_until(lambda: attempt.finish, what="the handing back")
    # Then what was begun is stored, it says why, and goes on with the next as if nothing were
    assert attempt.finish is not None
    assert attempt.finish["status"] == "canceled"
    assert attempt.finish["error"] == {"code": "agent.yielded", "data": {}}
    assert sorted(attempt.commits) == list(range(len(attempt.commits)))
    assert 1 <= len(attempt.commits) < 16
    wait_until(lambda: behind.finish, what="the next")
    assert behind.finish is not None
    assert behind.finish["status"] == "succeeded"
    assert studio.heartbeats[-1]["leaving"] is False


def test_waiting_attempt_is_canceled_without_its_turn(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    running = studio.add_attempt(house_ref, {**LONG, "num_images_per_prompt": 16})
    waiting = studio.add_attempt(house_ref, MUG)
    agent.send(running)
    wait_until(lambda: started(studio, running), what="the first step")
    agent.send(waiting)
    wait_until(lambda: waiting.claims, what="the second claim")
    studio.send_cancel(waiting)
    wait_until(lambda: waiting.finish, seconds=5, what="the end of the waiting one")
    assert running.finish is None
    studio.send_cancel(running)
    wait_until(lambda: running.finish, seconds=5, what="the end of the running one")


def test_lost_attempt_stops_and_writes_nothing_more(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, LONG)
    agent.send(attempt)
    wait_until(lambda: started(studio, attempt), what="the first step")
    studio.lost.add(attempt.id)
    wait_until(
        lambda: not studio.heartbeats[-1]["attempts"], seconds=10, what="the attempt's giving up"
    )
    assert (attempt.commits, attempt.finish) == ({}, None)
    assert not any((store / t.artifact_id).exists() for t in attempt.assignment.targets)


def test_attempt_whose_fence_grew_meanwhile_is_given_up(
    agent: AgentProcess, studio: FakeStudio, store: Path, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**MUG, "num_images_per_prompt": 16})
    agent.send(attempt)
    wait_until(lambda: attempt.commits, what="the first commit")
    attempt.is_unwanted = True
    wait_until(
        lambda: not studio.heartbeats[-1]["attempts"], seconds=10, what="the attempt's giving up"
    )
    assert attempt.finish is None
    # What was being stored when the studio said no may lie there; further pictures may not.
    stored = {t.index for t in attempt.assignment.targets if (store / t.artifact_id).exists()}
    assert len(stored) <= len(attempt.commits) + 3 < 16


def test_target_outside_the_store_is_refused(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    house_ref: ModelRef,
    tmp_path: Path,
) -> None:
    (store / "way-out").symlink_to(tmp_path)
    outside = [
        lambda artifact: (tmp_path / artifact).as_uri(),
        lambda artifact: f"{store.as_uri()}/../{artifact}",
        lambda artifact: (store / "way-out" / artifact).as_uri(),
    ]
    for target_url in outside:
        attempt = studio.add_attempt(
            house_ref, {**MUG, "num_inference_steps": 1}, target_url=target_url
        )
        finish = agent.run(attempt)
        assert (finish["status"], finish["error"]["code"]) == ("failed", "store.failed")
    assert list(tmp_path.iterdir()) == []
    assert not (store.parent / attempt.assignment.targets[0].artifact_id).exists()


def test_impossible_recipe_fails_with_its_code(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**MUG, "clip_skip": 12})
    finish = agent.run(attempt)
    assert finish["status"] == "failed"
    assert finish["error"] == {
        "code": "recipe.invalid",
        "data": {"field": "clip_skip", "value": 12, "limit": 1},
    }


def test_work_goes_on_while_the_socket_is_down(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**LONG, "num_inference_steps": 100})
    agent.send(attempt)
    wait_until(lambda: started(studio, attempt), what="the first step")
    studio.drop_sockets()
    wait_until(lambda: attempt.finish, what="the end")
    assert attempt.finish is not None
    assert attempt.finish["status"] == "succeeded"
    # After the reconnection the studio hears how it ended, not every step it missed.
    wait_until(
        lambda: studio.progress_of(attempt)[-1]["step"] == 100, seconds=10, what="the last step"
    )


def test_finish_is_told_again_after_an_outage(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    attempt = studio.add_attempt(house_ref, {**MUG, "num_inference_steps": 40})
    agent.send(attempt)
    wait_until(lambda: started(studio, attempt), what="the first step")
    studio.is_down = True
    time.sleep(1.2)
    studio.is_down = False
    wait_until(lambda: attempt.finish, what="the end")
    assert attempt.finish is not None
    assert attempt.finish["status"] == "succeeded"


def test_agent_registers_again_when_it_is_not_known(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    before = len(studio.registers)
    with studio.lock:
        boot = studio.registers[-1]["boot_id"]
        studio.registers[:] = [{**r, "boot_id": "forgotten"} for r in studio.registers]
    wait_until(lambda: len(studio.registers) > before, what="the registration")
    assert studio.registers[-1]["boot_id"] == boot
    assert agent.run(studio.add_attempt(house_ref, MUG))["status"] == "succeeded"


def test_overhead_of_an_attempt_is_small(
    agent: AgentProcess, studio: FakeStudio, house_ref: ModelRef
) -> None:
    # From the message to the finish, less what the picture itself took.
    overheads = []
    for seed in range(3):
        attempt = studio.add_attempt(house_ref, {**MUG, "seed": seed})
        began = time.monotonic()
        timings = agent.run(attempt)["timings"]
        computed = timings["denoise"] + timings["decode"] + timings["encode_prompt"]
        overheads.append(attempt.finished_at - began - computed)
    assert min(overheads) < 0.25


def test_model_cache_holds_whole_files_only(agent: AgentProcess, house_ref: ModelRef) -> None:
    models = agent.log.parent / "cache" / "models"
    assert {p.name for p in models.iterdir()} == {f.sha256 for f in house_ref.files}
    for path in models.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_log_tells_of_attempts_and_never_of_content(
    agent: AgentProcess, studio: FakeStudio
) -> None:
    log = agent.log.read_text()
    ended = [a for a in studio.attempts.values() if a.finish is not None]
    for attempt in ended:
        wait_until(lambda id_=attempt.id: id_ in agent.log.read_text(), what="its log line")  # type: ignore[misc]  # bound now
    assert "status=succeeded" in log
    assert "steps=8" in log
    for secret in ("CANARY", "mug", TOKEN, "Traceback", "X-Amz"):
        assert secret not in log
    for attempt in studio.attempts.values():
        assert attempt.assignment.preview_key not in log
        assert all(t.data_key not in log for t in attempt.assignment.targets)
