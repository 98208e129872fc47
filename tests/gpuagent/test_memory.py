"""Memory planning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuagent.planning.memory import estimate
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import InpaintArea

GIB = 1024**3


def square(side: int) -> Recipe:
    return Recipe(model="a" * 64, prompt="x", width=side, height=side)


def test_estimate_grows_with_pixels_and_holds_the_weights() -> None:
    small, large = (estimate(square(s), weights_bytes=GIB) for s in (512, 1024))
    assert large.activation_bytes == 4 * small.activation_bytes
    assert small.total_bytes > small.activation_bytes + GIB


def test_a_large_starting_picture_is_reckoned_with() -> None:
    plain, pixels = square(128), 8_000 * 8_000
    drawn = replace(plain, image="b" * 64, mask="c" * 64)
    masked = replace(drawn, inpaint_area=InpaintArea.MASKED)
    needs = [
        estimate(recipe, weights_bytes=0, picture_pixels=pixels).activation_bytes
        for recipe in (plain, drawn, masked)
    ]
    assert needs[0] == estimate(plain, weights_bytes=0).activation_bytes
    assert needs[1] >= pixels * 12
    # Before a step is made all of it is open; while steps are made a masked one still is.
    large = replace(masked, width=2_048, height=2_048)
    held = estimate(large, weights_bytes=0, picture_pixels=pixels).activation_bytes
    assert held >= estimate(square(2_048), weights_bytes=0).activation_bytes + pixels * 9


@pytest.mark.parametrize("side", [512, 640])
def test_stable_diffusion_fits_where_it_is_known_to(side: int) -> None:
    # 4 GB cards make 512 px and a little more with half-precision weights of 2.1 GB.
    assert estimate(square(side), weights_bytes=int(1.1e9 * 2)).total_bytes < 4.3 * GIB
