"""Backgrounds removed: objects stay, edges are sharp, the same again, stopped on the way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpuagent.pipelines.cutout import Cutter, read_size, refine_size
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.matte import softened
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.u2net import make_network, run_network
from gpuagent.planning.cutting import BAND_ROWS, estimate_cutout, plan_cutout, steps_of
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.planning.plan import Verdict
from gpuagent.protocol.cutouts import CutoutResult
from gpuagent.protocol.cutter_files import STAGES, Stage, plain_shapes, shapes_of, stages_of
from gpuagent.protocol.manifest import INFOTEXT_KEY
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind
from house.cutting import Masked, drawn_masked, measured_specs
from house.drawing.specs import Item, Spec
from tests.cutters import copy_cutter, make_cutter_folder

from .agent_process import AgentProcess
from .support import FakeStudio, Valkey, model_ref

MIB = 1024**2
MEASURED = 24


class Stopped(Exception):
    """The job was canceled."""


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    return copy_cutter(store / "cutter")  # where agents may read


@pytest.fixture(scope="module")
def cutter(folder: Path, engine: Engine) -> Cutter:
    return Cutter(folder, engine)


@pytest.fixture(scope="module")
def ref(folder: Path) -> ModelRef:
    return model_ref(
        folder, name="House cutout", architecture=Architecture.U2NET, kind=AssetKind.CUTTER
    )


def as_picture(values: torch.Tensor) -> Image.Image:
    """`[c, h, w]` of 0 to 1."""
    pixels = (values * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))


def overlaps(cutter: Cutter, masked: Masked) -> list[float]:
    """How well each picture's objects are met: intersection over union."""
    found = []
    for picture, mask in zip(masked.pictures, masked.masks, strict=True):
        alpha, true = cutter.cut(as_picture(picture))[..., 3] > 127, mask[0].numpy() > 0.5
        found.append((alpha & true).sum() / max(1, (alpha | true).sum()))
    return found


def mug(size: int = 128) -> Masked:
    return drawn_masked([Spec((Item("mug", "red"),), "beach")], size)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def published(
    *widths: tuple[int, int],
) -> dict[str, tuple[int, ...]]:
    """Shapes of a network by the channels within and out of each of its stages."""
    stages: dict[str, Stage] = {}
    entering = 3
    for (name, (depth, is_flat)), (within, leaving) in zip(STAGES.items(), widths, strict=True):
        if name.endswith("d"):
            entering += stages[name.removesuffix("d")].leaving
        stages[name] = Stage(
            depth=depth, is_flat=is_flat, entering=entering, within=within, leaving=leaving
        )
        entering = leaving
    return shapes_of(stages)


U2NET = published(
    (32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512),
    (256, 512), (128, 256), (64, 128), (32, 64), (16, 64),
)  # fmt: skip  # encoder and decoder, as the paper's table has them


def numbers(shapes: dict[str, tuple[int, ...]]) -> int:
    trained = {name: shape for name, shape in shapes.items() if "running" not in name}
    return sum(int(np.prod(shape)) for shape in trained.values())


def test_it_is_the_published_network() -> None:
    """The numbers of parameters that its authors give, 176.3 MB and 4.7 MB in single precision."""
    assert numbers(U2NET) == 44_009_869
    small = plain_shapes(16, 64)
    assert numbers(small) == 1_131_181
    assert small["stage1.rebnconvin.conv_s1.weight"] == (64, 3, 3, 3)
    assert small["stage1.rebnconv7.conv_s1.weight"] == (16, 16, 3, 3)
    assert small["stage5d.rebnconv3d.bn_s1.running_var"] == (16,)
    assert small["side6.weight"] == (1, 64, 3, 3)
    network = make_network(small)
    names = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert names == set(small)
    flat = dict(network.named_modules())["stage6"]
    dilations = [dict(flat.named_modules())[f"rebnconv{n}.conv_s1"].dilation for n in (1, 2, 3, 4)]
    assert dilations == [(1, 1), (2, 2), (4, 4), (8, 8)]


@pytest.mark.parametrize("size", [(33, 64), (64, 33), (320, 32)])
def test_masks_have_the_size_of_what_was_read(size: tuple[int, int]) -> None:
    network = make_network(plain_shapes(2, 4)).eval()
    with torch.inference_mode():
        made = run_network(network, torch.rand(1, 3, *size))
    assert [tuple(one.shape) for one in made] == [(1, 1, *size)] * 7


def test_other_weights_are_told_by_the_layer_that_is_odd() -> None:
    shapes = plain_shapes(2, 4)
    for change, odd in (
        ({"stage3.rebnconv2.conv_s1.weight": (2, 3, 3, 3)}, "stage3.rebnconv2.conv_s1.weight"),
        ({"extra": (1,)}, "extra"),
        ({"stage1.rebnconv2.conv_s1.bias": (10**9,)}, "stage1.rebnconv2.conv_s1.bias"),
    ):
        with pytest.raises(ValueError, match=odd):
            stages_of({**shapes, **change})
    with pytest.raises(ValueError, match=r"outconv\.bias"):
        stages_of({name: shape for name, shape in shapes.items() if name != "outconv.bias"})
    assert stages_of({**shapes, "stage1.rebnconv1.bn_s1.num_batches_tracked": ()})


def test_the_objects_of_drawings_are_met_and_random_weights_meet_none(
    cutter: Cutter, engine: Engine, tmp_path: Path
) -> None:
    masked = drawn_masked(measured_specs(MEASURED))
    assert np.mean(overlaps(cutter, masked)) > 0.93
    random = Cutter(make_cutter_folder(tmp_path / "random"), engine)
    assert np.mean(overlaps(random, masked)) < 0.5


@pytest.mark.parametrize("never", ["kinds", "colour"])
def test_kinds_and_a_color_that_were_never_trained_are_met_too(cutter: Cutter, never: str) -> None:
    masked = drawn_masked(measured_specs(MEASURED, **{never: True}))
    assert np.mean(overlaps(cutter, masked)) > 0.88


def test_what_the_house_model_draws_is_cut_out(cutter: Cutter, house: StableDiffusion15) -> None:
    """Its mug is red and the table is not: of what is left nearly everything is red."""
    recipe = Recipe(
        model="a" * 64, prompt="photo of a red mug on a wooden table", guidance_scale=4, seed=0
    )
    drawn = house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))
    made = cutter.cut(Image.fromarray(drawn))
    red = (drawn[..., 0] > 90) & (drawn[..., 1] < drawn[..., 0] * 0.4)
    kept = made[..., 3] > 127
    assert 0.04 < kept.mean() < 0.4
    assert (red & kept).sum() > 0.9 * red.sum()
    assert made[0, :, 3].max() < 40
    assert made[:, 0, 3].max() < 40


def test_edges_follow_the_picture_where_it_is_larger_than_what_was_read(cutter: Cutter) -> None:
    """Enlarged from 128 pixels alone, the mask would be soft over several pixels."""
    masked = mug(512)
    picture, true = as_picture(masked.pictures[0]), masked.masks[0, 0].numpy()
    alpha = cutter.cut(picture)[..., 3].astype(np.float32) / 255
    enlarged = np.asarray(
        Image.fromarray(cutter.find(picture)).resize(picture.size, Image.Resampling.BICUBIC)
    ).clip(0, 1)
    assert np.abs(alpha - true).mean() < 0.8 * np.abs(enlarged - true).mean()
    assert overlaps(cutter, masked)[0] > 0.96


def test_half_covered_pixels_lose_the_backgrounds_color(cutter: Cutter) -> None:
    """A red mug before a green wall, a little blurred: laid on white, no green edge is left."""
    wall = np.array((40, 200, 60), dtype=np.float32)
    layers = mug(256)
    share = layers.masks[0, 0].numpy()[..., None]
    object_ = np.where(share > 0, (190, 25, 30), wall).astype(np.float32)
    blurred = Image.fromarray((object_ * share + wall * (1 - share)).astype(np.uint8)).resize(
        (128, 128), Image.Resampling.BOX
    )
    made = cutter.cut(blurred).astype(np.float32)
    half = (made[..., 3] > 60) & (made[..., 3] < 200)
    assert half.sum() > 20
    before = np.asarray(blurred, dtype=np.float32)

    def greenness(colors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
        return float((colors[half][:, 1] - colors[half][:, 0]).mean())

    assert greenness(made[..., :3]) < greenness(before) - 40


def test_what_is_removed_is_gone_from_the_file_too(cutter: Cutter) -> None:
    made = cutter.cut(as_picture(mug().pictures[0]))
    removed = made[..., 3] == 0
    assert removed.mean() > 0.4
    assert made[removed].max() == 0


def test_a_soft_edge_fades_inside_the_object_alone(cutter: Cutter) -> None:
    picture = as_picture(mug(256).pictures[0])
    sharp, soft = (cutter.cut(picture, edge=edge)[..., 3] for edge in (0, 12))
    assert (soft <= sharp).all()
    between = (soft > 10) & (soft < 245)
    assert between.sum() > 2 * ((sharp > 10) & (sharp < 245)).sum()
    whole = np.full((40, 40), 255, dtype=np.uint8)
    assert np.array_equal(softened(whole, 0), whole)
    assert softened(whole, 8)[20, 20] == 255


def test_the_mask_alone_is_what_the_picture_is_cut_by(cutter: Cutter) -> None:
    picture = as_picture(mug().pictures[0])
    mask = cutter.cut(picture, result=CutoutResult.MASK)
    assert mask.shape == (128, 128)
    assert np.array_equal(mask, cutter.cut(picture)[..., 3])


def test_the_same_picture_gives_the_same_pixels(
    folder: Path, cutter: Cutter, engine: Engine
) -> None:
    picture = as_picture(mug(300).pictures[0])
    first = cutter.cut(picture)
    cutter.cut(Image.new("RGB", (90, 70), "teal"))
    assert np.array_equal(cutter.cut(picture), first)
    assert np.array_equal(Cutter(folder, engine).cut(picture), first)


@pytest.mark.parametrize("size", [(1, 1), (7, 700), (700, 5), (257, 300)])
def test_every_size_can_be_cut(cutter: Cutter, size: tuple[int, int]) -> None:
    assert cutter.cut(Image.new("RGB", size, (40, 120, 200))).shape == (size[1], size[0], 4)


def test_pictures_are_read_in_their_own_form() -> None:
    assert read_size(1024, 1024, 320) == (320, 320)
    assert read_size(1920, 1080, 320) == (427, 240)
    assert read_size(8192, 8, 128) == (512, 32)
    assert refine_size(128, 96) == (128, 96)
    assert refine_size(4096, 1024) == (1024, 256)


def test_it_stops_between_two_bands(cutter: Cutter) -> None:
    picture, told, checks = Image.new("RGB", (40, 3 * BAND_ROWS), "teal"), list[int](), [0]
    assert steps_of(picture.height) == 7

    def step(done: int, of: int, peek: object) -> None:
        assert of == 7
        told.append(done)

    cutter.cut(picture, watch=Watch(step=step))
    assert told == [1, 2, 3, 4, 5, 6, 7]

    def check() -> None:
        checks[0] += 1
        if checks[0] == 4:
            raise Stopped

    told.clear()
    with pytest.raises(Stopped):
        cutter.cut(picture, watch=Watch(check=check, step=step))
    assert told == [1, 2, 3]


def test_memory_grows_with_the_picture_alone() -> None:
    small = Recipe(model="", prompt="", image="a" * 64, cutout=True, width=512, height=512)
    large = Recipe(model="", prompt="", image="a" * 64, cutout=True, width=8_000, height=8_000)
    need = estimate_cutout(large, weights_bytes=3 * MIB).total_bytes
    assert need > estimate_cutout(small, weights_bytes=3 * MIB).total_bytes + 1_000 * MIB
    room = {"weights_bytes": 3 * MIB, "memory_bytes": OVERHEAD_BYTES + 500 * MIB}
    assert plan_cutout(small, has_own_memory=False, **room).verdict is Verdict.HERE
    assert plan_cutout(large, has_own_memory=False, **room).verdict is Verdict.NOWHERE
    # On a GPU pictures lie in the host's memory.
    assert plan_cutout(large, has_own_memory=True, **room).verdict is Verdict.HERE


@pytest.fixture(scope="module")
def agent(
    studio: FakeStudio, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path_factory.mktemp("agent"), studio, valkey)
    yield process
    process.close()


def opened(data: bytes) -> tuple[Pixels, str]:
    """Its pixels, and the parameters inside it."""
    with Image.open(io.BytesIO(data)) as made:
        return np.asarray(made), str(made.info.get(INFOTEXT_KEY))


def test_the_agent_makes_it_and_says_how(
    agent: AgentProcess, studio: FakeStudio, store: Path, ref: ModelRef, cutter: Cutter
) -> None:
    picture = as_picture(mug(300).pictures[0])
    asked = {"cutout": True, "cutout_edge": 4, "prompt": "a mug", "width": 300, "height": 300}
    attempts = [studio.add_attempt(ref, asked, source=png(picture)) for _again in range(2)]
    for attempt in attempts:
        finish = agent.run(attempt, seconds=90)
        assert (finish["status"], finish["error"]) == ("succeeded", None)
    files = [attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts]
    assert files[0] == files[1]
    made, info = opened(files[0])
    assert np.array_equal(made, cutter.cut(picture, edge=4))
    assert "Postprocess remove background: House cutout" in info
    thumbnail, _info = opened(attempts[0].open_file(store, 0, FileKind.THUMBNAIL))
    assert thumbnail.shape == (300, 300, 4)
    assert thumbnail[0, 0, 3] == 0
    manifest = attempts[0].commits[0]["manifest"]
    assert manifest["model"]["architecture"] == "u2net"
    sha256 = hashlib.sha256(png(picture)).hexdigest()
    assert manifest["recipe"] == {"version": 1, "model": ref.digest, "image": sha256, **asked}
    assert {(m["step"], m["steps"]) for m in studio.progress_of(attempts[0])} >= {(5, 5)}


def test_the_agent_makes_a_mask_alone(
    agent: AgentProcess, studio: FakeStudio, store: Path, ref: ModelRef, cutter: Cutter
) -> None:
    picture = as_picture(mug().pictures[0])
    asked = {"cutout": True, "cutout_result": "mask", "width": 128, "height": 128}
    attempt = studio.add_attempt(ref, asked, source=png(picture))
    assert agent.run(attempt, seconds=60)["status"] == "succeeded"
    made, _info = opened(attempt.open_file(store, 0, FileKind.PICTURE))
    assert np.array_equal(made, cutter.cut(picture, result=CutoutResult.MASK))


def test_the_agent_refuses_what_is_not_what_was_counted_on(
    agent: AgentProcess, studio: FakeStudio, ref: ModelRef, house_ref: ModelRef
) -> None:
    source = png(Image.new("RGB", (64, 48), "teal"))
    asked = {"cutout": True, "width": 64, "height": 48}
    other_size = studio.add_attempt(ref, {**asked, "width": 63}, source=source)
    other_kind = studio.add_attempt(house_ref, asked, source=source)
    scaled = {"scale": 2, "width": 128, "height": 96}
    upscale = studio.add_attempt(ref, scaled, source=source)
    drawing = studio.add_attempt(ref, {"prompt": "a mug"})
    codes = [
        agent.run(attempt, seconds=60)["error"]["code"]
        for attempt in (other_size, other_kind, upscale, drawing)
    ]
    assert codes == ["input.unreadable", *["recipe.invalid"] * 3]
