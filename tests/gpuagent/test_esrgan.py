"""The large network of ESRGAN: against its published form, in every spelling, folded and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.esrgan import Rrdb, make_network
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.planning.upscaling import OVERLAP
from library.single_files.pieces import UnfitFileError
from library.single_files.upscaler import plan_upscaler
from library.single_files.writing import Part, check_part, write_part
from library.tensor_files import read_tensor_file
from tests.upscalers import LARGE, TINY, first_name, make_upscaler_folder, tiny_weights

from .test_upscale import steepness


class Published:
    """RRDBNet as the papers' own code wrote it down, whole pictures only: what ours must equal."""

    def __init__(self, weights: dict[str, Any], blocks: int, fold: int, ups: int) -> None:
        self.weights, self.blocks, self.fold, self.ups = weights, blocks, fold, ups

    def layer(self, name: str, values: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.conv2d(values, weight.float(), bias.float(), padding=1)

    def dense(self, name: str, x: torch.Tensor) -> torch.Tensor:
        lrelu = nn.LeakyReLU(0.2)
        x1 = lrelu(self.layer(f"{name}.conv1", x))
        x2 = lrelu(self.layer(f"{name}.conv2", torch.cat((x, x1), 1)))
        x3 = lrelu(self.layer(f"{name}.conv3", torch.cat((x, x1, x2), 1)))
        x4 = lrelu(self.layer(f"{name}.conv4", torch.cat((x, x1, x2, x3), 1)))
        return self.layer(f"{name}.conv5", torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        lrelu = nn.LeakyReLU(0.2)
        feat = self.layer("conv_first", functional.pixel_unshuffle(x, self.fold))
        body = feat
        for block in range(self.blocks):
            out = body
            for number in (1, 2, 3):
                out = self.dense(f"body.{block}.rdb{number}", out)
            body = out * 0.2 + body
        feat = feat + self.layer("conv_body", body)
        for number in range(self.ups):
            larger = functional.interpolate(feat, scale_factor=2, mode="nearest")
            feat = lrelu(self.layer(f"conv_up{number + 1}", larger))
        return self.layer("conv_last", lrelu(self.layer("conv_hr", feat)))


def folder_of(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "upscaler.safetensors")
    return folder


@pytest.mark.parametrize(("ups", "fold"), [(2, 1), (2, 2), (1, 1)])
@pytest.mark.parametrize("size", [(40, 24), (33, 37)])
def test_a_tile_is_what_the_published_network_makes_of_it(
    ups: int, fold: int, size: tuple[int, int]
) -> None:
    config = {**TINY, "ups": ups, "fold": fold}
    weights = tiny_weights(config)
    network = make_network(config)
    assert isinstance(network, Rrdb)
    assert (network.scale, network.overlap) == (2**ups // fold, OVERLAP * fold)
    network.module.load_state_dict(weights)
    edge = network.overlap
    width, height = size[0] - size[0] % fold, size[1] - size[1] % fold
    seen = torch.rand(1, 3, height + 2 * edge, width + 2 * edge)
    with torch.inference_mode():
        ours = network.enlarge(seen)
        theirs = Published(weights, 2, fold, ups)(seen)
    edge *= network.scale
    assert torch.allclose(ours, theirs[:, :, edge:-edge, edge:-edge], atol=1e-5)


def test_the_real_weights_make_edges_steeper_and_keep_the_picture(
    tmp_path: Path, engine: Engine
) -> None:
    folder = make_upscaler_folder(tmp_path / "large", LARGE)
    config = json.loads((folder / "config.json").read_text())
    upscaler = Upscaler(folder, engine)
    upscaler.bring()
    picture = _drawing()
    made = upscaler.enlarge(picture, 4)
    bicubic = np.asarray(picture.resize((192, 192), Image.Resampling.BICUBIC))
    assert steepness(made) > 1.2 * steepness(bicubic)
    small = Image.fromarray(made).resize(picture.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(float) - np.asarray(picture)).mean() < 5
    # With real weights, too, it is the published network, within a rounding.
    around = np.pad(np.asarray(picture), ((24, 24), (24, 24), (0, 0)), mode="edge")
    values = torch.from_numpy(around).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        theirs = Published(load_file(folder / "upscaler.safetensors"), config["blocks"], 1, 2)(
            values
        )
    pixels = (theirs[0, :, 96:-96, 96:-96].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels - made).max() <= 1


def _drawing() -> Image.Image:
    """A disc and a bar with soft edges, as a small photo has them."""
    large = Image.new("RGB", (192, 192), (200, 190, 170))
    draw = ImageDraw.Draw(large)
    draw.ellipse((30, 40, 130, 150), fill=(150, 30, 40))
    draw.rectangle((100, 90, 180, 110), fill=(20, 40, 90))
    return large.resize((48, 48), Image.Resampling.BICUBIC)


def test_a_network_of_twice_makes_four_times_in_two(tmp_path: Path, engine: Engine) -> None:
    config = {**TINY, "fold": 2}
    upscaler = Upscaler(folder_of(tmp_path / "x2", config, tiny_weights(config)), engine)
    upscaler.bring()
    picture, told = _drawing().crop((0, 0, 33, 21)), list[tuple[int, int]]()
    watch = Watch(step=lambda done, of, _peek: told.append((done, of)))
    made = upscaler.enlarge(picture, 4, tile_side=20, watch=watch)
    assert made.shape == (84, 132, 3)
    assert told == [(number, 4 + 12) for number in range(1, 17)]
    once = Image.fromarray(upscaler.enlarge(picture, 2, tile_side=20))
    assert np.array_equal(made, upscaler.enlarge(once, 2, tile_side=20))


SECOND_NAMES = {
    "conv_body": "trunk_conv",
    "conv_up1": "upconv1",
    "conv_up2": "upconv2",
    "conv_hr": "HRconv",
}


def second_name(name: str) -> str:
    layer, kind = name.rsplit(".", 1)
    if layer.startswith("body."):
        _body, block, dense, conv = layer.split(".")
        return f"RRDB_trunk.{block}.{dense.upper()}.{conv}.{kind}"
    return f"{SECOND_NAMES.get(layer, layer)}.{kind}"


@pytest.mark.parametrize("spell", [str, first_name, second_name])
def test_every_spelling_becomes_the_same(tmp_path: Path, spell: Callable[[str], str]) -> None:
    weights = {name: tensor.half() for name, tensor in tiny_weights(TINY).items()}
    path = tmp_path / "old.safetensors"
    save_file({spell(name): tensor for name, tensor in weights.items()}, path)
    with path.open("rb") as source:
        file = read_tensor_file(source, path.stat().st_size)
        config, pieces = plan_upscaler(file.shapes)
        assert config == TINY
        part = Part(folder="", file="", config=config, prefix="", pieces=pieces)
        check_part(file, part)
        write_part(source, file, part, tmp_path / "new.safetensors")
    made = load_file(tmp_path / "new.safetensors")
    assert set(made) == set(weights)
    assert all(made[name].equal(weights[name]) for name in weights)


def test_a_single_doubling_under_the_first_names() -> None:
    config = {**TINY, "ups": 1}
    names = {"conv_hr": "model.5", "conv_last": "model.7"}
    shapes = {}
    for name, tensor in tiny_weights(config).items():
        layer, kind = name.rsplit(".", 1)
        spelled = f"{names[layer]}.{kind}" if layer in names else first_name(name)
        shapes[spelled] = tuple(tensor.shape)
    assert plan_upscaler(shapes)[0] == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_last.bias": None}, "'conv_last.bias' is missing"),
        ({"body.1.rdb2.conv3.weight": (4, 8, 3, 3)}, "it would be 4 × 16 × 3 × 3"),
        ({"body.0.rdb1.conv1x1.weight": (4, 8, 1, 1)}, "conv1x1.weight', too"),
        ({"conv_first.weight": (8, 48, 3, 3)}, "networks of ×2 and ×4 can be used"),
        ({"conv_up1.weight": None, "conv_up2.weight": None}, "others than those of ESRGAN"),
        ({"conv_first.weight": (512, 3, 3, 3)}, "at most 128"),
    ],
)
def test_other_networks_are_refused(change: dict[str, Any], says: str) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny_weights(TINY).items()}
    shapes |= change
    shapes = {name: shape for name, shape in shapes.items() if shape is not None}
    with pytest.raises(UnfitFileError, match=says):
        plan_upscaler(shapes)


@pytest.mark.parametrize(
    ("said", "overlap"),
    [
        ({"blocks": 16}, 18),
        ({"blocks": 6}, 8),
        ({"blocks": 32}, 18),  # as it was registered before it said so
        ({"blocks": 32, "overlap": 34}, 34),
        ({"blocks": 32, "overlap": 10**6}, 34),
    ],
)
def test_a_tile_of_a_compact_network_looks_as_far_as_it_did(
    said: dict[str, int], overlap: int
) -> None:
    config = {"network": "compact", "features": 4, **said}
    network = make_network(config)
    assert network.overlap == overlap
    shapes = {name: tuple(each.shape) for name, each in network.module.state_dict().items()}
    known, _pieces = plan_upscaler(shapes)
    assert known.get("overlap", 18) == max(18, said["blocks"] + 2)
