"""What a model's family asks of a submission: a sampler that works with it, sizes it can make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gpuagent.protocol.families import check_family, default_sampler
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import Architecture
from library.models import ModelVersion
from studio.core.errors import InvalidInputError


def for_family(recipe: Recipe, raw: Mapping[str, object], version: ModelVersion) -> Recipe:
    """The recipe with the family's own sampler, where the request names none.

    Raises:
        InvalidInputError: the family cannot do something of it; every field is named.
    """
    architecture = Architecture(version.architecture)
    if raw.get("sampler") in (None, "") and recipe.is_drawn:
        recipe = replace(recipe, sampler=default_sampler(architecture))
    problems = check_family(recipe, architecture)
    if problems:
        raise InvalidInputError(problems)
    return recipe
