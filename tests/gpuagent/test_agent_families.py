"""Attempts on models of every family, by the whole agent as a process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpuagent.protocol.families import FAMILIES as RULES
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind

from .agent_process import AgentProcess
from .support import FakeStudio, Valkey, model_ref, wait_until
from .tiny_models import FAMILIES, save_sdxl, save_vae

NAMES = ("sdxl", "sd3", "flux schnell")
ASKED: dict[str, Any] = {"prompt": "a red mug", "seed": 3, "num_inference_steps": 3, "width": 64}


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRef]:
    """A tiny model of each family, as the library would hand it out."""
    made = {}
    for name in NAMES:
        architecture, save = FAMILIES[name]
        folder = tmp_path_factory.mktemp("tiny")
        save(folder)
        made[name] = model_ref(folder, name=name, architecture=architecture)
    return made


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio,
    valkey: Valkey,
    refs: dict[str, ModelRef],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AgentProcess]:
    """One agent for all of them; it warms the first itself."""
    studio.preload = (refs["sdxl"],)
    root = str(tmp_path_factory.getbasetemp())
    process = AgentProcess(
        tmp_path_factory.mktemp("agent"), studio, valkey, STUDIO_AGENT_MODELS_ROOT=root
    )
    try:
        wait_until(
            lambda: studio.heartbeats and studio.heartbeats[-1]["ready"],
            seconds=90,
            what="readiness",
        )
        yield process
    finally:
        process.close()


def asked_of(ref: ModelRef, **more: object) -> dict[str, object]:
    sampler = RULES[ref.architecture].default_sampler
    return {**ASKED, "height": 64, "sampler": sampler, **more}


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 64), color).save(file, "PNG")
    return file.getvalue()


def half_mask() -> bytes:
    mask = np.zeros((64, 80), np.uint8)
    mask[:, 48:] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def test_families_take_turns_and_equal_recipes_have_equal_files(
    agent: AgentProcess, studio: FakeStudio, store: Path, refs: dict[str, ModelRef]
) -> None:
    made: dict[str, list[bytes]] = {name: [] for name in NAMES}
    for name in (*NAMES, *NAMES):
        attempt = studio.add_attempt(refs[name], asked_of(refs[name]))
        assert agent.run(attempt)["status"] == "succeeded", name
        made[name].append(attempt.open_file(store, 0, FileKind.PICTURE))
    for name, files in made.items():
        assert files[0] == files[1], name
        with Image.open(io.BytesIO(files[0])) as picture:
            manifest = json.loads(picture.info[PNG_KEY])
            assert picture.size == (64, 64)
        assert manifest["model"]["architecture"] == refs[name].architecture.value
    assert len({files[0] for files in made.values()}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("area", ["", "whole", "masked"])
def test_starting_pictures_and_masks_go_the_way_of_the_first_family(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    refs: dict[str, ModelRef],
    name: str,
    area: str,
) -> None:
    more = {"inpaint_area": area, "mask_padding": 16, "mask_blur": 0} if area else {}
    attempt = studio.add_attempt(
        refs[name],
        asked_of(refs[name], strength=0.8, **more),
        source=png("teal"),
        mask=half_mask() if area else None,
    )
    assert agent.run(attempt)["status"] == "succeeded"
    with Image.open(io.BytesIO(attempt.open_file(store, 0, FileKind.PICTURE))) as picture:
        colors = np.asarray(picture.convert("RGB"))
    assert colors.shape == ((64, 80, 3) if area == "masked" else (64, 64, 3))
    if area:
        assert (colors[:, :30] == (0, 128, 128)).all()
        assert not (colors[:, -10:] == (0, 128, 128)).all()


def test_a_refiner_and_another_vae_finish_pictures_and_stand_in_the_manifest(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    refs: dict[str, ModelRef],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import torch

    folder = tmp_path_factory.mktemp("parts")
    save_sdxl(folder / "refiner", is_refiner=True)
    torch.manual_seed(9)
    save_vae(folder / "vae", channels=4, scaling_factor=0.13025)
    refiner = model_ref(folder / "refiner", name="Refiner", architecture=Architecture.SDXL)
    vae = model_ref(
        folder / "vae", name="Sharp", architecture=Architecture.SDXL, kind=AssetKind.VAE
    )
    ref = refs["sdxl"]
    made = {}
    refined: dict[str, object] = {"refiner": refiner.digest, "refiner_start": 0.5}
    sharp: dict[str, object] = {"vae": vae.digest}
    for name, more in (
        ("plain", dict[str, object]()),
        ("refined", refined),
        ("sharp", sharp),
        ("both", {**refined, **sharp}),
    ):
        files = []
        for _ in range(2):
            attempt = studio.add_attempt(ref, asked_of(ref, **more), adapters=(refiner, vae))
            finish = agent.run(attempt)
            assert (finish["status"], finish["error"]) == ("succeeded", None), name
            files.append(attempt.open_file(store, 0, FileKind.PICTURE))
        assert files[0] == files[1], name
        made[name] = files[0]
    assert len(set(made.values())) == 4
    with Image.open(io.BytesIO(made["both"])) as picture:
        manifest, said = json.loads(picture.info[PNG_KEY]), picture.info[INFOTEXT_KEY]
    assert "VAE: Sharp, Refiner: Refiner, Refiner switch at: 0.5" in said
    assert manifest["adapters"] == [
        {"kind": "vae", "name": "Sharp", "digest": vae.digest},
        {"kind": "checkpoint", "name": "Refiner", "digest": refiner.digest},
    ]
    assert manifest["recipe"]["refiner_start"] == 0.5
    # It finishes what starts from a picture, and the larger of two drawings, tile by tile.
    asked: dict[str, Any]
    for asked, given, size in (
        ({"strength": 0.8}, {"source": png("teal")}, (64, 64)),
        ({"mask_blur": 0}, {"source": png("teal"), "mask": half_mask()}, (64, 64)),
        ({"hires_scale": 2, "hires_strength": 0.5, "hires_tile": 64}, {}, (128, 128)),
    ):
        files = []
        for with_it in (refined, {}, refined):
            attempt = studio.add_attempt(
                ref,
                asked_of(ref, **asked, **with_it),
                adapters=(refiner,),
                source=given.get("source"),
                mask=given.get("mask"),
            )
            assert agent.run(attempt)["status"] == "succeeded", asked
            files.append(attempt.open_file(store, 0, FileKind.PICTURE))
        assert files[0] == files[2] != files[1], asked
        with Image.open(io.BytesIO(files[0])) as picture:
            assert picture.size == size
            if "mask" in given:
                assert (np.asarray(picture.convert("RGB"))[:, :30] == (0, 128, 128)).all()
    # What was not handed out, or belongs to another family, is told as such.
    lacking = studio.add_attempt(ref, asked_of(ref, vae=vae.digest))
    assert agent.run(lacking)["error"]["code"] == "adapter.missing"
    other = refs["sd3"]
    strange = studio.add_attempt(other, asked_of(other, vae=vae.digest), adapters=(vae,))
    assert agent.run(strange)["error"]["code"] == "adapter.unfit"


def test_a_sampler_that_does_not_work_with_the_family_ends_the_attempt_with_its_reason(
    agent: AgentProcess, studio: FakeStudio, refs: dict[str, ModelRef]
) -> None:
    ref = refs["sd3"]
    assert ref.architecture is Architecture.SD3
    finish = agent.run(studio.add_attempt(ref, asked_of(ref, sampler="euler_a")))
    assert (finish["status"], finish["error"]["code"]) == ("failed", "recipe.invalid")
