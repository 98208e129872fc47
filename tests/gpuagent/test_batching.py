"""Pictures of different jobs in one batch: nearly the same as alone, and each can leave."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from gpuagent.pipelines.batching import Member
from gpuagent.pipelines.preview import Floats
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.protocol.batching import batch_key
from gpuagent.protocol.loras import LoraUse
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS

BASE = Recipe(
    model="a" * 64, prompt="a red mug", seed=7, num_inference_steps=4, width=64, height=64
)
OTHERS = (
    replace(BASE, prompt="a blue cat", negative_prompt="a mug", seed=2**32 - 1),
    replace(BASE, prompt="a (green:1.3) tree", seed=3, clip_skip=1),
)


class Leaves(Exception):
    """A member's own reason."""


def member(
    model: StableDiffusion15,
    recipe: Recipe,
    *,
    check: Callable[[], None] = lambda: None,
    step: Callable[[int, int, Peek], None] = lambda _done, _of, _peek: None,
) -> Member:
    embeddings = model.encode_prompts(recipe)
    return Member(recipe=recipe, embeddings=embeddings, watch=Watch(check=check, step=step))


def alone(model: StableDiffusion15, recipe: Recipe) -> torch.Tensor:
    return model.denoise(recipe, 0, model.encode_prompts(recipe))


def leaving_after(calls: int) -> Callable[[], None]:
    count = itertools.count(1)

    def check() -> None:
        if next(count) > calls:
            raise Leaves

    return check


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_each_is_what_it_would_be_alone_but_for_the_last_bits(
    house: StableDiffusion15, sampler: str
) -> None:
    recipes = [replace(recipe, sampler=sampler) for recipe in (BASE, *OTHERS)]
    made = house.denoise_together([member(house, recipe) for recipe in recipes])
    for recipe, latents in zip(recipes, made, strict=True):
        assert latents is not None
        assert torch.allclose(latents, alone(house, recipe), atol=2e-3)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("after", [0, 2])
def test_one_that_leaves_harms_no_other(house: StableDiffusion15, sampler: str, after: int) -> None:
    first, second, third = (replace(recipe, sampler=sampler) for recipe in (BASE, *OTHERS))
    gone = member(house, second, check=leaving_after(after))
    made = house.denoise_together([member(house, first), gone, member(house, third)])
    assert made[1] is None
    for recipe, latents in ((first, made[0]), (third, made[2])):
        assert latents is not None
        assert torch.allclose(latents, alone(house, recipe), atol=2e-3)


def test_without_guidance_too(house: StableDiffusion15) -> None:
    recipes = [replace(recipe, guidance_scale=1.0) for recipe in (BASE, *OTHERS)]
    members = [member(house, recipe) for recipe in recipes]
    members[0] = member(house, recipes[0], check=leaving_after(1))
    made = house.denoise_together(members)
    assert made[0] is None
    assert made[2] is not None
    assert torch.allclose(made[2], alone(house, recipes[2]), atol=2e-3)


def test_when_all_leave_it_ends(house: StableDiffusion15) -> None:
    steps: list[int] = []
    members = [member(house, recipe, check=leaving_after(1)) for recipe in (BASE, *OTHERS)]
    assert house.denoise_together(members, lambda: steps.append(1)) == [None] * 3
    assert len(steps) == 1


def test_each_is_told_of_its_own_steps_and_shown_its_own_picture(house: StableDiffusion15) -> None:
    shown: dict[str, list[Floats]] = {}

    def watch(recipe: Recipe) -> Callable[[int, int, Peek], None]:
        return lambda _done, _of, peek: shown.setdefault(recipe.prompt, []).append(peek())

    recipes = (BASE, *OTHERS)
    made = house.denoise_together([member(house, each, step=watch(each)) for each in recipes])
    for recipe, latents in zip(recipes, made, strict=True):
        assert latents is not None
        assert len(shown[recipe.prompt]) == 4
        # The last one foreseen is the picture itself.
        assert np.allclose(shown[recipe.prompt][-1], latents[0].numpy(), atol=0.05)


def test_a_picture_of_a_batch_is_the_same_whatever_the_others_are(
    house: StableDiffusion15,
) -> None:
    first = house.denoise_together([member(house, BASE), member(house, OTHERS[0])])
    second = house.denoise_together([member(house, BASE), member(house, OTHERS[1])])
    assert first[0] is not None
    assert second[0] is not None
    assert torch.equal(first[0], second[0])


def test_prompts_of_other_lengths_do_not_go_together(house: StableDiffusion15) -> None:
    long = replace(BASE, prompt="a red mug " * 60)
    assert not member(house, long).fits_beside(member(house, BASE))
    assert member(house, OTHERS[0]).fits_beside(member(house, BASE))


@pytest.mark.parametrize(
    "change",
    [
        {"width": 72},
        {"height": 72},
        {"num_inference_steps": 5},
        {"guidance_scale": 5.5},
        {"sampler": "euler"},
        {"model": "b" * 64},
        {"loras": (LoraUse(digest="c" * 64),)},
        {"embeddings": ("c" * 64,)},
    ],
)
def test_what_is_computed_otherwise_has_another_key(change: dict[str, object]) -> None:
    changed = replace(BASE, **change)  # type: ignore[arg-type]  # each of its field's type
    assert batch_key(changed) not in ("", batch_key(BASE))


@pytest.mark.parametrize(
    "change",
    [{"prompt": "else"}, {"negative_prompt": "else"}, {"seed": 8}, {"clip_skip": 1}],
)
def test_what_is_each_ones_own_has_the_same(change: dict[str, object]) -> None:
    changed = replace(BASE, **change)  # type: ignore[arg-type]  # each of its field's type
    assert batch_key(changed) == batch_key(BASE) != ""


@pytest.mark.parametrize(
    "change",
    [
        {"num_images_per_prompt": 2},
        {"image": "d" * 64},
        {"image": "d" * 64, "mask": "e" * 64},
        {"image": "d" * 64, "scale": 2},
        {"image": "d" * 64, "outpaint_left": 8},
        {"strength": 0.5},
    ],
)
def test_everything_else_is_made_alone(change: dict[str, object]) -> None:
    assert batch_key(replace(BASE, **change)) == ""  # type: ignore[arg-type]  # each of its field's type
