"""Previews: the colours of a picture before it is decoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpuagent.pipelines.encode import encode_preview
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.preview import Floats, LatentColors
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.protocol import sealing
from gpuagent.protocol.frames import PREVIEW_MAX_BYTES
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS
from gpuagent.runner.progress import PreviewOrder, make_preview

from .support import HOUSE

MUG = Recipe(model="a" * 64, prompt="a red mug on a table", num_inference_steps=10, seed=3)


def explained(colors: LatentColors, latent: Floats, small: Floats) -> float:
    """R²: how much of the decoded colours the factors explain."""
    rest = ((colors.colors(latent) - small) ** 2).sum()
    return float(1 - rest / ((small - small.mean((0, 1))) ** 2).sum())


@pytest.fixture(scope="module")
def samples(house: StableDiffusion15) -> list[tuple[Floats, Floats]]:
    """Latents of real pictures with their decoded colours, one per latent cell."""
    found = []
    for seed, prompt in enumerate(
        ["a red mug on a wooden table", "a blue car on grass", "a yellow star at night"]
    ):
        recipe = replace(MUG, prompt=prompt, seed=seed)
        latents = house.denoise(recipe, 0, house.encode_prompts(recipe))
        pixels = house.decode(latents).astype(np.float32) / 255
        found.append((latents[0].numpy(), pixels.reshape(16, 8, 16, 8, 3).mean((1, 3))))
    return found


def test_factors_explain_the_decoded_colours(
    house: StableDiffusion15, samples: list[tuple[Floats, Floats]]
) -> None:
    assert min(explained(house.colors, *sample) for sample in samples) > 0.9


def test_random_factors_would_not(samples: list[tuple[Floats, Floats]]) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        colors = LatentColors(
            factors=random.normal(0, 0.2, (4, 3)).astype(np.float32),
            bias=np.full(3, 0.5, dtype=np.float32),
        )
        assert max(explained(colors, *sample) for sample in samples) < 0.8


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_first_preview_shows_the_picture_that_is_coming(
    house: StableDiffusion15, sampler: str
) -> None:
    seen: list[Floats] = []
    watch = Watch(step=lambda done, _of, peek: seen.append(peek()) if done in (1, 3) else None)
    recipe = replace(MUG, sampler=sampler)
    latents = house.denoise(recipe, 0, house.encode_prompts(recipe), watch=watch)
    final = house.colors.colors(latents[0].numpy()).ravel()
    first, third = (np.corrcoef(house.colors.colors(x).ravel(), final)[0, 1] for x in seen)
    assert first > 0.5
    assert third > 0.7


def test_fit_is_kept_beside_the_model(
    engine: Engine, house: StableDiffusion15, tmp_path: Path
) -> None:
    notes = tmp_path / "colors.json"
    notes.write_text("{broken")
    first = StableDiffusion15(HOUSE, engine, notes=notes)
    assert np.array_equal(first.colors.factors, house.colors.factors)
    kept = LatentColors.from_json(notes.read_bytes())
    assert np.array_equal(kept.factors, first.colors.factors)
    assert np.array_equal(kept.bias, first.colors.bias)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"factors": [1], "bias": [1, 2, 3]}'])
def test_note_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        LatentColors.from_json(data)


def test_worst_preview_is_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert len(encode_preview(noise)) <= PREVIEW_MAX_BYTES
    assert len(encode_preview(noise[:8])) <= PREVIEW_MAX_BYTES


def test_preview_is_sealed_for_its_attempt(house: StableDiffusion15) -> None:
    attempt, key = "att_01J00000000000000000000000", sealing.new_key()
    latent = np.full((4, 16, 16), np.nan, dtype=np.float32)
    frame = make_preview(
        PreviewOrder(
            attempt_id=attempt,
            organization="org_1",
            index=2,
            latent=latent,
            colors=house.colors,
            key=key,
        )
    )
    context = sealing.Context(organization="org_1", object_id=attempt, kind="preview")
    picture = sealing.open_sealed(frame.payload, key=key, context=context)
    assert picture[8:12] == b"WEBP"
    assert (frame.subject_id, frame.index) == (attempt, 2)
