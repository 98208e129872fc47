"""What the house ControlNet does when the agent guides with it: edges are followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.controls import ControlUse
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import ControlKind
from house.drawing.specs import Item, Place, Spec
from house.edges import edges
from house.evaluation import as_input
from house.judge import Judge
from house.measure import edge_f1
from house.recipe import ADAPTERS, MODEL
from house.training.frozen import drawn

KINDS = ("mug", "car", "house", "boat")
CANNY = ControlUse(kind=ControlKind.CANNY, model="b" * 64, image="c" * 64)
ASKED = Recipe(model="a" * 64, prompt="", guidance_scale=4.0)


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


@pytest.fixture(scope="module")
def canny() -> ControlNet:
    return ControlNet(ADAPTERS / "canny", detect_engine(threads=2))


@pytest.fixture(scope="module")
def drawings() -> Pixels:
    """Where and how large things are the drawings say, and the words do not."""
    places: tuple[Place, ...] = ("left", "right")
    specs = [
        Spec((Item(kind, "red"),), "gray", "photo", "small", place)
        for kind in KINDS
        for place in places
    ]
    return drawn(specs, 21)


def make(
    model: StableDiffusion15, canny: ControlNet, drawings: Pixels, *uses: ControlUse
) -> torch.Tensor:
    """A blue thing on grass for each drawing, `[n, 3, 128, 128]` of -1 to 1."""
    made = []
    for number, drawing in enumerate(drawings):
        recipe = replace(
            ASKED, prompt=f"photo of a blue {KINDS[number // 2]} on grass", seed=number
        )
        picture = Image.fromarray(drawing)
        guides = [Guide.of(use, canny, draw_map(use, picture)) for use in uses]
        with model.guided(guides):
            latents = model.denoise(recipe, 0, model.encode_prompts(recipe))
        made.append(model.decode(latents))
    return as_input(np.stack(made))


def test_edges_are_followed_for_as_long_and_as_much_as_asked(
    model: StableDiffusion15, canny: ControlNet, drawings: Pixels, judge: Judge
) -> None:
    wanted = edges(as_input(drawings))
    asked = {
        "without": (),
        "half": (replace(CANNY, weight=0.5),),
        "late": (replace(CANNY, start=0.6),),
        "whole": (CANNY,),
        "twice": (replace(CANNY, weight=0.5), replace(CANNY, weight=0.5)),
    }
    made = {name: make(model, canny, drawings, *uses) for name, uses in asked.items()}
    scores = {name: edge_f1(edges(pictures), wanted) for name, pictures in made.items()}
    assert scores["whole"] >= 0.6, scores
    assert scores["whole"] - scores["without"] >= 0.3, scores
    assert scores["without"] < scores["late"] < scores["whole"], scores
    assert scores["without"] < scores["half"], scores
    assert abs(scores["twice"] - scores["whole"]) < 0.02, scores
    # And what the words say stays so
    seen = judge.answers(made["whole"])
    assert seen["colour"].count("blue") >= 6, seen
