"""ControlNets where a picture is drawn in tiles: each tile is led by its part of the map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from gpuagent.maps import make_map
from gpuagent.pipelines.control import ControlNet, Guide
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.large_maps import draw_large
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.tiling import tiles
from gpuagent.planning.plan import Measure
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import ControlKind

from .support import ADAPTERS

WIDE = Recipe(
    model="a" * 64,
    prompt="photo of a red mug on a beach",
    num_inference_steps=4,
    guidance_scale=4.0,
    seed=4,
    width=192,
    height=128,
)
TILE = 128
COUNT = len(tiles(16, 24, 16))


@pytest.fixture(scope="module")
def canny(engine: Engine) -> ControlNet:
    return ControlNet(ADAPTERS / "canny", engine)


@pytest.fixture(scope="module")
def drawn() -> Image.Image:
    """Something else in every part."""
    values = np.random.default_rng(1).integers(0, 255, (128, 192, 3), dtype=np.uint8)
    return Image.fromarray(values)


def made(
    model: StableDiffusion15, recipe: Recipe, *guides: Guide, side: int | None = None
) -> torch.Tensor:
    embeddings = model.encode_prompts(recipe)
    with model.guided(guides):
        if side is None:
            return model.denoise(recipe, 0, embeddings)
        with model.tiles.of(side, lambda: None):
            return model.denoise(recipe, 0, embeddings)


@contextmanager
def seen_by(net: ControlNet) -> Iterator[list[torch.Tensor]]:
    """The maps that the network is given, call by call."""
    seen: list[torch.Tensor] = []
    forward = net.net.forward

    def watched(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - diffusers has no types
        seen.append(named["controlnet_cond"])
        return forward(*given, **named)

    net.net.forward = watched
    try:
        yield seen
    finally:
        del net.net.forward


def test_each_tile_is_led_by_its_part_for_its_share_of_the_steps(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image
) -> None:
    guide = Guide(by=canny, map=canny.take_in(drawn), weight=1.0, start=0.25, end=0.75)
    with seen_by(canny) as seen:
        made(house, WIDE, guide, side=TILE)
    assert COUNT > 1
    assert len(seen) == 2 * COUNT, "two of the four steps, all tiles of each"
    whole = torch.from_numpy(np.asarray(drawn).copy()).permute(2, 0, 1)[None] / 255
    for number, tile in enumerate(tiles(16, 24, 16)):
        part = whole[..., tile.columns.start * 8 : tile.columns.stop * 8]
        for step in range(2):
            assert torch.equal(seen[step * COUNT + number][:1], part)


def test_one_tile_that_covers_all_is_the_whole(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image
) -> None:
    guide = Guide(by=canny, map=canny.take_in(drawn), weight=1.0)
    whole = made(house, WIDE, guide)
    assert torch.equal(made(house, WIDE, guide, side=192), whole)
    # And also as a tile, through all that cuts, shows and blends
    alone = tiles(16, 24, 24)[0]
    house._steering.show(alone)
    try:
        shown = made(house, WIDE, guide)
    finally:
        house._steering.show(None)
    assert alone.is_last
    assert torch.equal(shown, whole)
    assert not torch.equal(made(house, WIDE, guide, side=TILE), whole)


def test_halves_cut_guidance_and_a_failure_leave_it_as_it_was(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image
) -> None:
    guide = Guide(by=canny, map=canny.take_in(drawn), weight=1.0)
    tiled = made(house, WIDE, guide, side=TILE)
    house.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    try:
        assert torch.allclose(made(house, WIDE, guide, side=TILE), tiled, atol=0.02)
    finally:
        house.bring()
    cut = replace(WIDE, guidance_end=0.5)
    with seen_by(canny) as seen:
        made(house, cut, guide, side=TILE)
    assert [len(each) for each in seen] == [2] * 2 * COUNT + [1] * 2 * COUNT
    # stopped within a step, the next picture begins anew

    def stop() -> None:
        if len(stopped) == COUNT:
            raise KeyboardInterrupt
        stopped.append(1)

    stopped: list[int] = []
    with (
        pytest.raises(KeyboardInterrupt),
        house.guided([guide]),
        house.tiles.of(TILE, stop),
    ):
        house.denoise(WIDE, 0, house.encode_prompts(WIDE))
    assert torch.equal(made(house, WIDE, guide, side=TILE), tiled)


def test_maps_of_large_pictures_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.radial_gradient("L").resize((300, 700)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for top in range(0, 700, 41):
        draw.line((0, top, 300, top + 90), fill=(top % 255, 90, 200), width=3)
    asked: list[int] = []

    def at_once(kind: ControlKind) -> Any:  # noqa: ANN401 - a function
        def one(part: Image.Image) -> Image.Image:
            asked.append(part.width * part.height)
            return make_map(kind.value, part)

        return one

    monkeypatch.setattr("gpuagent.pipelines.large_maps.PIXELS_AT_ONCE", 60_000)
    for kind in (ControlKind.CANNY, ControlKind.LINEART):
        asked.clear()
        banded = np.asarray(draw_large(kind, picture, at_once(kind)))
        assert len(asked) > 3
        assert max(asked) <= 60_000
        assert np.array_equal(banded, np.asarray(make_map(kind.value, picture)))
    asked.clear()
    rough = draw_large(ControlKind.SCRIBBLE, picture, at_once(ControlKind.SCRIBBLE))
    assert rough.size == picture.size
    assert asked[0] <= 60_000
    assert np.asarray(rough).max() > 200
