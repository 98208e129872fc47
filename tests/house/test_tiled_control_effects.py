"""What the house ControlNet does where a picture is drawn again in tiles: its edges stay."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.inpaint import Known, StartingPicture
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.tiling import decode_tiles, encode_tiles
from gpuagent.planning.hires import starts
from gpuagent.protocol.controls import ControlUse
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import ControlKind
from gpuagent.runner.refining import refining_recipe
from house.drawing.specs import Item, Spec
from house.edges import edges
from house.evaluation import as_input
from house.measure import edge_f1
from house.recipe import ADAPTERS, MODEL
from house.training.frozen import drawn

CANNY = ControlUse(kind=ControlKind.CANNY, model="b" * 64, image="c" * 64)
KINDS = ("mug", "boat")
SIDE, TILE = 256, 192


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


@pytest.fixture(scope="module")
def canny() -> ControlNet:
    return ControlNet(ADAPTERS / "canny", detect_engine(threads=2))


@pytest.fixture(scope="module")
def enlarged() -> Pixels:
    specs = [Spec((Item(kind, "red"),), "gray", "photo", "small", "left") for kind in KINDS]
    pictures = [Image.fromarray(each) for each in drawn(specs, 21)]
    sized = [each.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for each in pictures]
    return np.stack([np.asarray(each) for each in sized])


def drawn_again(model: StableDiffusion15, pictures: Pixels, *guides: list[Guide]) -> Pixels:
    """Each in four tiles, half of it anew."""
    made = []
    for number, pixels in enumerate(pictures):
        recipe = Recipe(
            model="a" * 64,
            prompt=f"photo of a red {KINDS[number]} on a gray background",
            guidance_scale=4.0,
            seed=number,
            num_inference_steps=12,
            hires_scale=2.0,
            hires_strength=0.6,
            hires_tile=TILE,
        )
        source = Image.fromarray(pixels)
        start = encode_tiles(source, TILE, 8, lambda tile: model.take_in(tile).posterior.mode())
        on = guides[number] if guides else []
        with model.guided(on), model.tiles.of(TILE, lambda: None):
            latents = model.denoise(
                refining_recipe(recipe),
                0,
                model.encode_prompts(recipe),
                start=StartingPicture(posterior=Known(start)),
            )
        made.append(decode_tiles(latents, TILE, 8, model.decode))
    return np.stack(made)


def test_tiles_follow_their_part_of_the_edges_and_meet_without_a_seam(
    model: StableDiffusion15, canny: ControlNet, enlarged: Pixels
) -> None:
    maps = [draw_map(CANNY, Image.fromarray(each)) for each in enlarged]
    guides = [[Guide.of(CANNY, canny, each)] for each in maps]
    # A map that is turned over has the same lines in other tiles.
    turned = [[Guide.of(CANNY, canny, each.rotate(180))] for each in maps]
    made = {
        "without": drawn_again(model, enlarged),
        "guided": drawn_again(model, enlarged, *guides),
        "turned": drawn_again(model, enlarged, *turned),
    }
    wanted = edges(as_input(enlarged))
    scores = {name: edge_f1(edges(as_input(each)), wanted) for name, each in made.items()}
    assert scores["guided"] >= 0.6, scores
    assert scores["guided"] - scores["without"] >= 0.25, scores
    assert scores["guided"] - scores["turned"] >= 0.4, scores
    # Beside its surroundings, no step from pixel to pixel stands out at a tile's border
    assert max(step for each in made["guided"] for step in steps_at_borders(each)) < 1.6


def steps_at_borders(made: Pixels) -> list[float]:
    """The step at each border between tiles, beside those within eight pixels of it."""
    found = []
    borders = {edge for start in starts(SIDE, TILE) for edge in (start, start + TILE)}
    for axis in (0, 1):
        steps = np.abs(np.diff(made.astype(float).mean(2), axis=axis)).mean(1 - axis)
        for at in borders - {0, SIDE}:
            around = np.concatenate([steps[at - 9 : at - 1], steps[at : at + 8]])
            found.append(float(steps[at - 1] / around.mean()))
    return found
