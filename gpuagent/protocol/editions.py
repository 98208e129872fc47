"""Where our own code makes other pixels of a recipe than it once did: told like another runtime."""

from __future__ import annotations

from collections.abc import Callable

from gpuagent.protocol.recipe import Recipe

# Whoever changes what a recipe gives adds a line: the next number, and which recipes those are.
_CHANGES: tuple[tuple[int, Callable[[Recipe], bool]], ...] = (
    # Controls lead the second, larger drawing, too.
    (2, lambda recipe: recipe.is_hires and bool(recipe.controls)),
)


def edition_of(recipe: Recipe) -> int:
    """The newest change that this recipe's pictures show; 1 if they are as they ever were."""
    return max((number for number, is_meant in _CHANGES if is_meant(recipe)), default=1)
