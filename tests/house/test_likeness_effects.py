"""What the house IP-Adapter does when the agent uses it: pictures show what the example shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.ip_adapter import Example, IPAdapter
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse
from gpuagent.protocol.taxonomy import ReferenceKind
from house.drawing.render import Pixels
from house.drawing.specs import Item, Spec
from house.evaluation import as_input
from house.judge import Judge
from house.recipe import ADAPTERS, MODEL
from house.training.frozen import drawn

SHOWN = ReferenceUse(kind=ReferenceKind.IP_ADAPTER, model="b" * 64, image="c" * 64)
ASKED = Recipe(model="a" * 64, prompt="photo", guidance_scale=4.0, num_inference_steps=12)
SPECS = [
    Spec((Item(kind, colour),), background)
    for kind, colour, background in (
        ("mug", "red", "grass"),
        ("car", "blue", "beach"),
        ("tree", "green", "snow"),
        ("star", "yellow", "night"),
        ("house", "white", "blue"),
        ("boat", "orange", "sunset"),
        ("hat", "purple", "gray"),
        ("fish", "pink", "wood"),
    )
]


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


@pytest.fixture(scope="module")
def likeness() -> IPAdapter:
    return IPAdapter(ADAPTERS / "likeness", detect_engine(threads=2))


@pytest.fixture(scope="module")
def drawings() -> Pixels:
    """Of another stream than it learnt from."""
    return drawn(SPECS, 31)


def share(
    model: StableDiffusion15,
    likeness: IPAdapter,
    drawings: Pixels,
    judge: Judge,
    prompt: str = ASKED.prompt,
    **settings: float,
) -> dict[str, float]:
    """For each question, the share of pictures that show what their example shows."""
    made = []
    for number, drawing in enumerate(drawings):
        use = replace(SHOWN, **settings)  # type: ignore[arg-type]  # numbers alone
        examples = [Example.of(use, likeness, Image.fromarray(drawing))] if use.weight else []
        recipe = replace(ASKED, prompt=prompt, seed=number)
        with model.guided(examples):
            made.append(model.decode(model.denoise(recipe, 0, model.encode_prompts(recipe))))
    seen = judge.answers(as_input(np.stack(made)))
    wanted = {
        "kind": [spec.items[0].kind for spec in SPECS],
        "colour": [spec.items[0].colour for spec in SPECS],
        "background": [spec.background for spec in SPECS],
    }
    return {
        name: sum(a == b for a, b in zip(seen[name], all_, strict=True)) / len(all_)
        for name, all_ in wanted.items()
    }


def test_a_picture_shows_what_its_example_shows(
    model: StableDiffusion15, likeness: IPAdapter, drawings: Pixels, judge: Judge
) -> None:
    without = share(model, likeness, drawings, judge, weight=0.0)
    whole = share(model, likeness, drawings, judge)
    print(without, whole)
    for question in ("kind", "colour", "background"):
        assert whole[question] >= 0.6, (without, whole)
        assert whole[question] - without[question] >= 0.3, (without, whole)


def test_words_still_count_beside_it(
    model: StableDiffusion15, likeness: IPAdapter, drawings: Pixels, judge: Judge
) -> None:
    mixed = share(model, likeness, drawings, judge, prompt="photo of a mug", weight=0.5)
    whole = share(model, likeness, drawings, judge)
    assert mixed["kind"] < whole["kind"], (mixed, whole)
    assert mixed["colour"] + mixed["background"] >= 0.6, mixed
