"""Variations of a picture: its first noise is moved a part of the way towards another noise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpuagent.protocol.recipe import Recipe

if TYPE_CHECKING:
    import torch

_DRAWS = "randn_tensor"


@contextmanager
def mixed_noise(pipeline: Any, recipe: Recipe, index: int) -> Iterator[None]:  # noqa: ANN401 - no types
    """What the pipeline draws first is mixed with the noise of the variation seed.

    Every pipeline draws its first noise by one function that its module has imported. In its place
    there, for this call alone, any mode of any family is served; pictures are made one at a time.
    What samplers draw on their way comes from elsewhere and stays.
    """
    if not recipe.variation_strength:
        yield
        return
    modules = [sys.modules[each.__module__] for each in type(pipeline).__mro__]
    places = {module.__name__: module for module in modules if hasattr(module, _DRAWS)}
    kept = {name: getattr(module, _DRAWS) for name, module in places.items()}
    drawn = _Mixing(recipe, index, next(iter(kept.values())))
    try:
        for module in places.values():
            setattr(module, _DRAWS, drawn)
        yield
    finally:
        for name, module in places.items():
            setattr(module, _DRAWS, kept[name])


class _Mixing:
    """Draws as diffusers does; the first time, mixed."""

    def __init__(self, recipe: Recipe, index: int, draw: Any) -> None:  # noqa: ANN401 - as above
        self._draw = draw
        self._strength = recipe.variation_strength
        self._seed = recipe.variation_seed_of(index)
        self._is_first = True

    def __call__(self, shape: Any, generator: Any = None, **options: Any) -> Any:  # noqa: ANN401 - as above
        import torch

        noise = self._draw(shape, generator=generator, **options)
        if not self._is_first:
            return noise
        self._is_first = False
        other = torch.Generator("cpu").manual_seed(self._seed)
        return mix(noise, self._draw(shape, generator=other, **options), self._strength)


def mix(noise: torch.Tensor, other: torch.Tensor, strength: float) -> torch.Tensor:
    """On the way along the sphere: noise of a mean between two would be too quiet."""
    import torch

    if strength >= 1:
        return other
    first, second = noise.double().flatten(), other.double().flatten()
    cosine = torch.dot(first, second) / (first.norm() * second.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if float(torch.sin(angle)) < 1e-6:  # the same noise, or its opposite: there is no one way
        return noise
    mixed = torch.sin((1 - strength) * angle) * first + torch.sin(strength * angle) * second
    return (mixed / torch.sin(angle)).reshape(noise.shape).to(noise.dtype)
