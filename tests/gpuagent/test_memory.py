"""Memory planning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.planning.memory import estimate, largest_side
from gpuagent.protocol.recipe import Recipe

GIB = 1024**3


def square(side: int) -> Recipe:
    return Recipe(model="a" * 64, prompt="x", width=side, height=side)


def test_estimate_grows_with_pixels_and_holds_the_weights() -> None:
    small, large = (estimate(square(s), weights_bytes=GIB) for s in (512, 1024))
    assert large.activation_bytes == 4 * small.activation_bytes
    assert small.total_bytes > small.activation_bytes + GIB


@given(st.integers(0, 80 * GIB), st.integers(0, 20 * GIB))
def test_largest_side_is_the_largest_that_fits(available: int, weights: int) -> None:
    side = largest_side(available_bytes=available, weights_bytes=weights)
    assert side % 8 == 0
    if side:
        assert estimate(square(side), weights_bytes=weights).total_bytes <= available
    assert estimate(square(side + 8), weights_bytes=weights).total_bytes > available


@pytest.mark.parametrize("side", [512, 640])
def test_stable_diffusion_fits_where_it_is_known_to(side: int) -> None:
    # 4 GB cards make 512 px and a little more with half-precision weights of 2.1 GB.
    assert estimate(square(side), weights_bytes=int(1.1e9 * 2)).total_bytes < 4.3 * GIB
