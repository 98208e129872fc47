"""Changing a part of a picture, and extending one, with the agent's own code: seen by the judge."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from gpuagent.pipelines.canvas import make_canvas
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import InpaintArea
from house.judge import Judge
from house.recipe import MODEL

PLAIN = Recipe(model="a" * 64, prompt="", guidance_scale=4.0)
APPLE = replace(
    PLAIN,
    prompt="photo of a red apple on a beach",
    image="b" * 64,
    mask="c" * 64,
    strength=1.0,
    seed=50,
)


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


def png(picture: Pixels | Image.Image) -> bytes:
    file = io.BytesIO()
    opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    opened.save(file, "PNG")
    return file.getvalue()


def make(
    model: StableDiffusion15,
    recipe: Recipe,
    source: Pixels | None = None,
    mask: Image.Image | None = None,
) -> Pixels:
    embeddings = model.encode_prompts(recipe)
    if source is None:
        return model.decode(model.denoise(recipe, 0, embeddings))
    canvas = make_canvas(recipe, png(source), png(mask) if mask is not None else None)
    assert canvas is not None
    start = model.take_in(canvas.picture, canvas.mask)
    return canvas.finish(model.decode(model.denoise(recipe, 0, embeddings, start=start)))


def seen(judge: Judge, picture: Pixels) -> dict[str, str]:
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    return {question: answers[0] for question, answers in judge.answers(tensor / 127.5 - 1).items()}


def disc(side: int, share: float = 0.7) -> Image.Image:
    mask = Image.new("L", (side, side))
    margin = round(side * (1 - share) / 2)
    ImageDraw.Draw(mask).ellipse((margin, margin, side - margin - 1, side - margin - 1), fill=255)
    return mask


def car_on_beach(model: StableDiffusion15, seed: int) -> Pixels:
    return make(model, replace(PLAIN, prompt="photo of a blue car on a beach", seed=seed))


@pytest.mark.parametrize("seed", range(3))
def test_inside_is_what_was_asked_for_and_outside_not_a_byte_changes(
    seed: int, model: StableDiffusion15, judge: Judge
) -> None:
    before, mask, blur = car_on_beach(model, seed), disc(128), 6
    assert seen(judge, before)["kind"] == "car"
    after = make(model, replace(APPLE, mask_blur=blur), before, mask)
    answers = seen(judge, after)
    assert (answers["kind"], answers["colour"]) == ("apple", "red")
    assert answers["background"] == seen(judge, before)["background"] == "beach"
    near = np.asarray(disc(128, 0.7 + 2 * (blur + 1) / 128)) > 0
    box = np.zeros_like(near)
    box[19 - blur : 109 + blur, 19 - blur : 109 + blur] = True
    changed = (before != after).any(2)
    assert not changed[~box].any()
    assert changed[~near].mean() < 0.1
    assert changed[np.asarray(mask) > 0].mean() > 0.95


def test_a_soft_edge_is_softer_than_a_hard_one(model: StableDiffusion15) -> None:
    """On a picture that has nothing to do with the new part, so that the edge is a step."""
    before = np.full((128, 128, 3), 30, np.uint8)
    ring = np.asarray(disc(128)).astype(int)
    border = np.abs(np.diff(ring, axis=1)) > 0
    steps = {}
    for blur in (0, 4, 10):
        after = make(model, replace(APPLE, mask_blur=blur), before, disc(128))
        steps[blur] = np.abs(np.diff(after.astype(int), axis=1)).mean(2)[border].mean()
    assert steps[10] < steps[4] < steps[0]
    assert steps[10] < steps[0] / 4


def sharpness(picture: Pixels, where: np.ndarray) -> float:
    """Mean strength of the finest detail: what a blur of one pixel would take away."""
    gray = picture.astype(float).mean(2)
    fine = (
        gray[1:-1, 1:-1] * 4 - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    )
    return float(np.abs(fine)[where[1:-1, 1:-1]].mean())


def test_the_masked_area_is_sharper_than_the_whole_picture_at_the_same_size(
    model: StableDiffusion15, judge: Judge
) -> None:
    small = Image.fromarray(car_on_beach(model, 1))
    before = np.asarray(small.resize((384, 384), Image.Resampling.LANCZOS))
    mask = disc(384, 0.3)
    whole = make(model, APPLE, before, mask)
    masked = make(
        model, replace(APPLE, inpaint_area=InpaintArea.MASKED, mask_padding=8), before, mask
    )
    assert (whole.shape, masked.shape) == ((128, 128, 3), (384, 384, 3))
    enlarged = np.asarray(Image.fromarray(whole).resize((384, 384), Image.Resampling.LANCZOS))
    inside = np.asarray(mask) > 0
    assert sharpness(masked, inside) > 1.5 * sharpness(enlarged, inside)
    around = np.s_[120:264, 120:264]
    part = np.asarray(Image.fromarray(masked[around]).resize((128, 128)))
    assert seen(judge, part)["kind"] == "apple"
    assert np.array_equal(masked[:100], before[:100])


SCENES = {
    "beach": "photo of a small blue car on the left on a beach",
    "grass": "photo of a small red mug on the left on grass",
    "night": "photo of a small yellow house on the left at night",
    "snow": "photo of a small green tree on the left in the snow",
}


@pytest.mark.parametrize("background", SCENES)
def test_an_extended_picture_keeps_its_bytes_and_its_background_goes_on(
    background: str, model: StableDiffusion15, judge: Judge
) -> None:
    whole = make(model, replace(PLAIN, prompt=SCENES[background], seed=4))
    kept = np.ascontiguousarray(whole[:, :96])
    recipe = replace(
        PLAIN,
        prompt=SCENES[background],
        image="b" * 64,
        strength=1.0,
        seed=30,
        outpaint_right=32,
    )
    after = make(model, recipe, kept)
    assert np.array_equal(after[:, :96], kept)
    answers = seen(judge, after)
    assert answers["background"] == background
    assert answers["kind"] == seen(judge, whole)["kind"]
    steps = np.abs(np.diff(after.astype(int), axis=1)).mean((0, 2))
    # Where old and new meet there is no more of a step than within the picture itself.
    assert steps[94:98].max() <= steps[40:94].max()
    # And the new ground is no drawn-out edge.
    assert steps[100:].mean() > 0.3
