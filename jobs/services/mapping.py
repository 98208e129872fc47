"""What makes the maps that pixels alone do not give: found in the library, checked for its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gpuagent.protocol.controls import LABELS, ControlUse
from gpuagent.protocol.recipe import FieldProblem, Recipe
from gpuagent.protocol.taxonomy import MAPPED, Architecture, AssetKind, ControlKind
from library.models import ModelVersion
from library.selectors import first_version, usable_mappers
from studio.core.errors import InvalidInputError, invalid


def first_model(kind: AssetKind, raw: Mapping[str, object]) -> ModelVersion | None:
    """The first that can do what a request without a model is for."""
    wanted = str(raw.get("map_kind"))
    if kind is AssetKind.MAPPER and wanted in set(ControlKind):
        return next(iter(usable_mappers(ControlKind(wanted))), None)
    return first_version(kind)


def with_mappers(recipe: Recipe) -> Recipe:
    """The recipe with the library's first map maker where a control needs one and names none.

    Raises:
        InvalidInputError: there is none.
    """
    if all(use.mapper is not None or not use.needs_mapper for use in recipe.controls):
        return recipe
    found: list[ControlUse] = []
    problems: list[FieldProblem] = []
    for number, use in enumerate(recipe.controls, 1):
        made = use
        if use.needs_mapper and use.mapper is None:
            versions = usable_mappers(use.kind)
            if versions:
                made = replace(use, mapper=versions[0].digest)
            else:
                problems.append(_none_of(number, use.kind))
        found.append(made)
    if problems:
        raise InvalidInputError(problems)
    return replace(recipe, controls=tuple(found))


def check_mappers(recipe: Recipe, found: Mapping[str, ModelVersion]) -> None:
    """Each makes maps of the kind that its control reads.

    Raises:
        InvalidInputError: one makes others.
    """
    for use in recipe.controls:
        if use.mapper is not None:
            check_mapper(found[use.mapper], use.kind, "controls")


def check_mapper(version: ModelVersion, kind: ControlKind, field: str) -> None:
    """It makes maps of this kind.

    Raises:
        InvalidInputError: of another one.
    """
    makes = MAPPED[Architecture(version.architecture)]
    if makes is not kind:
        message = (
            f"{version.asset.name} makes maps of the kind {makes.value}, not {kind.value}. "
            "Choose another map maker."
        )
        raise invalid(field, "other_map", message)


def _none_of(number: int, kind: ControlKind) -> FieldProblem:
    message = (
        f"Control {number}: nothing in the library makes {LABELS[kind].lower()} maps. Add a ready "
        "map, as `map`; an admin can register what makes them."
    )
    return FieldProblem(field="controls", code="needs_map", message=message, value=kind.value)
