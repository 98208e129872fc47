"""Enlarging: sharper than interpolation, without seams, the same again, stopped between tiles."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines import upscale
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.planning.plan import Verdict
from gpuagent.planning.upscaling import estimate_upscale, plan_upscale
from gpuagent.protocol.manifest import INFOTEXT_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind
from tests.upscalers import make_upscaler_folder

from .agent_process import AgentProcess
from .support import FakeStudio, Valkey, model_ref

PROMPTS = (
    "photo of a red mug on a wooden table",
    "flat illustration of a green boat at sunset",
    "pencil sketch of an orange fish on a blue background",
)
MIB = 1024**2


class Stopped(Exception):
    """The job was canceled."""


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    return make_upscaler_folder(store / "upscaler")  # where agents may read


@pytest.fixture(scope="module")
def upscaler(folder: Path, engine: Engine) -> Upscaler:
    return Upscaler(folder, engine)


@pytest.fixture(scope="module")
def ref(folder: Path) -> ModelRef:
    return model_ref(
        folder, name="Real-ESRGAN", architecture=Architecture.ESRGAN, kind=AssetKind.UPSCALER
    )


@pytest.fixture(scope="module")
def pictures(house: StableDiffusion15) -> list[Image.Image]:
    """Three styles of the house model."""
    made = []
    for prompt in PROMPTS:
        recipe = Recipe(model="a" * 64, prompt=prompt, num_inference_steps=12, seed=5)
        latents = house.denoise(recipe, 0, house.encode_prompts(recipe))
        made.append(Image.fromarray(house.decode(latents)))
    return made


def steepness(pixels: Pixels) -> float:
    """How steep the steepest hundredth of all edges is, in levels a pixel."""
    gray = pixels.astype(np.float64).mean(axis=2)
    down, across = np.diff(gray, axis=0)[:, 1:], np.diff(gray, axis=1)[1:]
    return float(np.percentile(np.hypot(down, across), 99))


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("scale", [2, 4])
def test_edges_are_steeper_than_those_of_bicubic_and_the_picture_is_the_same(
    upscaler: Upscaler, pictures: list[Image.Image], scale: int
) -> None:
    for picture in pictures:
        size = (picture.width * scale, picture.height * scale)
        made = upscaler.enlarge(picture, scale)
        assert made.shape == (size[1], size[0], 3)
        bicubic = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
        assert steepness(made) > 1.1 * steepness(bicubic)
        small = Image.fromarray(made).resize(picture.size, Image.Resampling.BOX)
        away = np.abs(np.asarray(small).astype(float) - np.asarray(picture).astype(float))
        assert away.mean() < 5


def test_tiles_are_what_the_whole_would_be(
    upscaler: Upscaler, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = pictures[0].crop((0, 0, 101, 75))

    def difference() -> int:
        tiled = upscaler.enlarge(picture, 4, tile_side=40).astype(int)
        whole = upscaler.enlarge(picture, 4, tile_side=4_096).astype(int)
        return int(np.abs(tiled - whole).max())

    assert difference() <= 1
    # It is the overlap that does it.
    monkeypatch.setattr(upscaler._network, "overlap", 4)
    assert difference() > 1


def test_the_same_picture_gives_the_same_pixels(
    folder: Path, upscaler: Upscaler, engine: Engine, pictures: list[Image.Image]
) -> None:
    picture = pictures[1].resize((150, 140))
    first = upscaler.enlarge(picture, 2)
    upscaler.enlarge(pictures[2], 4)
    assert np.array_equal(upscaler.enlarge(picture, 2), first)
    assert np.array_equal(Upscaler(folder, engine).enlarge(picture, 2), first)


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (129, 5)])
def test_every_size_can_be_enlarged(upscaler: Upscaler, size: tuple[int, int]) -> None:
    made = upscaler.enlarge(Image.new("RGB", size, (40, 120, 200)), 4)
    assert made.shape == (size[1] * 4, size[0] * 4, 3)
    # One color stays that color up to the very border.
    assert np.abs(made.astype(int) - (40, 120, 200)).max() <= 8


def test_steps_are_tiles_and_it_stops_between_two(upscaler: Upscaler) -> None:
    picture, told, checks = Image.new("RGB", (90, 60), "teal"), list[tuple[int, int]](), [0]

    def step(done: int, of: int, peek: object) -> None:
        told.append((done, of))

    upscaler.enlarge(picture, 2, tile_side=32, watch=Watch(step=step))
    assert told == [(number, 6) for number in range(1, 7)]
    assert upscaler.steps_of((90, 60), 4) == 1
    assert upscaler.steps_of((129, 256), 4) == 4

    def check() -> None:
        checks[0] += 1
        if checks[0] == 3:
            raise Stopped

    told.clear()
    with pytest.raises(Stopped):
        upscaler.enlarge(picture, 2, tile_side=32, watch=Watch(check=check, step=step))
    assert told == [(1, 6), (2, 6)]


def test_what_is_shown_meanwhile_is_the_picture_itself(
    upscaler: Upscaler, pictures: list[Image.Image]
) -> None:
    shown: list[Pixels] = []
    colors = upscale.picture_colors()
    watch = Watch(step=lambda _done, _of, peek: shown.append(colors.pixels(peek())))
    upscaler.enlarge(pictures[0], 2, watch=watch)
    assert np.array_equal(shown[0], np.asarray(pictures[0]))


def test_memory_grows_with_the_result_alone() -> None:
    small = Recipe(model="", prompt="", image="a" * 64, scale=4, width=512, height=512)
    large = Recipe(model="", prompt="", image="a" * 64, scale=4, width=7_680, height=4_320)
    need = estimate_upscale(large, weights_bytes=3 * MIB).total_bytes
    assert need < 1_024 * MIB
    assert need > estimate_upscale(small, weights_bytes=3 * MIB).total_bytes + 300 * MIB
    memory = OVERHEAD_BYTES + 400 * MIB
    room = {"weights_bytes": 3 * MIB, "memory_bytes": memory}
    assert plan_upscale(small, has_own_memory=False, **room).verdict is Verdict.HERE
    assert plan_upscale(large, has_own_memory=False, **room).verdict is Verdict.NOWHERE
    # On a GPU pictures lie in the host's memory.
    assert plan_upscale(large, has_own_memory=True, **room).verdict is Verdict.HERE


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path_factory.mktemp("agent"), studio, valkey)
    yield process
    process.close()


def test_the_agent_makes_it_and_says_how(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    ref: ModelRef,
    upscaler: Upscaler,
    pictures: list[Image.Image],
) -> None:
    picture = pictures[0].resize((192, 160))
    asked = {"scale": 2, "prompt": "a mug", "width": 384, "height": 320}
    attempt = studio.add_attempt(ref, asked, source=png(picture))
    finish = agent.run(attempt, seconds=90)
    assert (finish["status"], finish["error"]) == ("succeeded", None)
    assert finish["timings"]["denoise"] > 0
    with Image.open(io.BytesIO(attempt.open_file(store, 0, FileKind.PICTURE))) as made:
        assert np.array_equal(np.asarray(made), upscaler.enlarge(picture, 2))
        assert "Postprocess upscale by: 2" in made.info[INFOTEXT_KEY]
        assert "Steps" not in made.info[INFOTEXT_KEY]
    manifest = attempt.commits[0]["manifest"]
    assert manifest["model"]["architecture"] == "esrgan"
    sha256 = hashlib.sha256(png(picture)).hexdigest()
    said = {"version": 1, "model": ref.digest, "image": sha256, **asked}
    assert manifest["recipe"] == said
    assert {(m["step"], m["steps"]) for m in studio.progress_of(attempt)} >= {(4, 4)}


def test_the_agent_refuses_what_is_not_what_was_counted_on(
    agent: AgentProcess, studio: FakeStudio, ref: ModelRef, house_ref: ModelRef
) -> None:
    source = png(Image.new("RGB", (64, 48), "teal"))
    asked = {"scale": 2, "width": 128, "height": 96}
    other_size = studio.add_attempt(ref, {**asked, "width": 64}, source=source)
    other_kind = studio.add_attempt(house_ref, asked, source=source)
    drawing = studio.add_attempt(ref, {"prompt": "a mug"})
    codes = [
        agent.run(attempt, seconds=60)["error"]["code"]
        for attempt in (other_size, other_kind, drawing)
    ]
    assert codes == ["input.unreadable", "recipe.invalid", "recipe.invalid"]
