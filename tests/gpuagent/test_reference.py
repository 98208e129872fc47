"""Reference pictures: what is drawn takes after them, for a while and by as much as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.maps import make_map
from gpuagent.pipelines.control import ControlNet, Guide, Steering
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.placing import SplitGuidance
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.planning.plan import Measure
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe

from .support import ADAPTERS

MUG = Recipe(
    model="a" * 64,
    prompt="photo of a mug",
    num_inference_steps=8,
    guidance_scale=4.0,
    seed=1,
    width=128,
    height=128,
)
GREEN = replace(MUG, prompt="photo of a green car on grass", seed=50)
Make = Callable[..., Pixels]


@pytest.fixture(scope="module")
def make(house: StableDiffusion15) -> Make:
    def make_one(recipe: Recipe, *guides: Guide | Reference) -> Pixels:
        with house.guided(guides):
            return house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))

    return make_one


@pytest.fixture(scope="module")
def plain(make: Make) -> Pixels:
    return make(MUG)


@pytest.fixture(scope="module")
def green(house: StableDiffusion15, make: Make) -> Reference:
    latents = house.look_at(Image.fromarray(make(GREEN)))
    return Reference(latents=latents, weight=1.0)


def distance(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def colors(picture: Pixels) -> np.ndarray:
    return np.asarray(picture.reshape(-1, 3).mean(0))


@pytest.mark.parametrize("sampler", ["dpmpp_2m_karras", "euler_a", "heun", "ddim"])
def test_colors_move_towards_the_reference(make: Make, green: Reference, sampler: str) -> None:
    wanted = colors(make(GREEN))
    asked = [replace(MUG, sampler=sampler, seed=seed) for seed in (1, 2, 3)]
    plain, half, whole = (
        float(np.mean([np.abs(colors(make(each, *taken)) - wanted) for each in asked]))
        for taken in ((), (replace(green, weight=0.5),), (green,))
    )
    assert half < 0.8 * plain, (plain, half, whole)
    assert whole < 0.8 * plain, (plain, half, whole)


def test_weight_start_and_end_decide_how_much(make: Make, green: Reference, plain: Pixels) -> None:
    assert np.array_equal(make(MUG, replace(green, weight=0.0)), plain)
    early = distance(make(MUG, replace(green, end=0.5)), plain)
    late = distance(make(MUG, replace(green, start=0.5)), plain)
    assert 0 < late < early


def test_nothing_is_left_behind(
    house: StableDiffusion15, make: Make, green: Reference, plain: Pixels
) -> None:
    first = make(MUG, green)
    assert np.array_equal(make(MUG), plain)
    with pytest.raises(KeyboardInterrupt), house.guided([green]):
        raise KeyboardInterrupt
    assert np.array_equal(make(MUG), plain)
    assert np.array_equal(make(MUG, green), first)
    assert not any("forward" in layer.__dict__ for layer in house._steering._referring._layers)


def test_halves_of_guidance_are_the_same(
    house: StableDiffusion15, make: Make, green: Reference
) -> None:
    whole = make(MUG, green)
    house.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    try:
        split = make(MUG, green)
    finally:
        house.bring()
    assert distance(split, whole) < 1


def test_without_guidance_it_is_taken_after_too(make: Make, green: Reference) -> None:
    few = replace(MUG, guidance_scale=1.0)
    assert distance(make(few, green), make(few)) > 3


def test_a_reference_and_a_controlnet_at_once(
    engine: Engine, make: Make, green: Reference, plain: Pixels
) -> None:
    net = ControlNet(ADAPTERS / "canny", engine)
    car = make_map("canny", Image.fromarray(make(GREEN)))
    guide = Guide(by=net, map=net.take_in(car), weight=1.0)
    both, edges = make(MUG, guide, green), make(MUG, guide)
    wanted = colors(make(GREEN))
    assert np.abs(colors(both) - wanted).mean() < np.abs(colors(edges) - wanted).mean()
    assert distance(both, make(MUG, green)) > 3
    assert np.array_equal(make(MUG), plain)


def test_what_has_no_such_layers_refuses_it(green: Reference) -> None:
    class Other(torch.nn.Module):
        @override
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return hidden_states * 2

    other = Other()
    steering = Steering(other, SplitGuidance(other))
    assert float(other(hidden_states=torch.ones(1))) == 2
    with pytest.raises(AttemptFailedError) as caught, steering.on([green]):
        pass
    assert caught.value.code is FailureCode.ADAPTER_UNFIT


PICTURE = "c" * 64


def parsed(*references: object) -> Recipe:
    return parse_recipe({"model": "a" * 64, "prompt": "x", "references": list(references)})


def test_it_is_read_and_written_and_an_input_of_the_job() -> None:
    recipe = parsed({"image": PICTURE}, {"kind": "reference", "image": "d" * 64, "end": 0.5})
    assert recipe.to_wire()["references"] == [
        {"kind": "reference", "image": PICTURE, "weight": 1, "start": 0, "end": 1},
        {"kind": "reference", "image": "d" * 64, "weight": 1, "start": 0, "end": 0.5},
    ]
    assert parse_recipe(recipe.to_wire()) == recipe
    assert recipe.inputs == {"reference_1": PICTURE, "reference_2": "d" * 64}
    assert recipe.adapters == ()
    assert parsed({"image": PICTURE, "weight": 0}) == parsed()
    assert "references" not in parsed().to_wire()


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("x", "not_a_reference"),
        ({"kind": "magic", "image": PICTURE}, "unknown_kind"),
        ({"image": "x"}, "unknown_image"),
        ({}, "needs_image"),
        ({"image": PICTURE, "weight": 3}, "out_of_range"),
        ({"image": PICTURE, "start": 1}, "ends_before_start"),
        ({"image": PICTURE, "model": PICTURE}, "not_with_kind"),
    ],
)
def test_every_mistake_is_told(reference: object, code: str) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parsed({"image": PICTURE}, reference)
    (found,) = caught.value.problems
    assert (found.field, found.code) == ("references", code)
    assert found.message.startswith("Reference 2: ")


def test_what_a_unet_for_inpainting_is_told_beside_is_told_of_the_reference() -> None:
    reference = Reference(latents=torch.zeros(1, 4, 4, 4), weight=1.0)
    scheduler = make_scheduler("ddim", {})
    like = torch.full((1, 9, 8, 8), 3.0)
    noised = reference.noised(torch.tensor(500.5), scheduler, like)
    assert noised.shape == (1, 9, 4, 4)
    assert (noised[:, 4:] == 3).all()
    again = reference.noised(torch.tensor(500.5), scheduler, like)
    assert torch.equal(noised, again)
