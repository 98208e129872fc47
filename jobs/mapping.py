"""Reading what map is asked for, by the room or the API."""

from __future__ import annotations

from collections.abc import Mapping

from gpuagent.protocol.controls import MapRequest, read_map_request
from gpuagent.protocol.recipe import SIDE_MAX, RecipeInvalidError
from studio.core.errors import InvalidInputError, invalid

_FIELDS = frozenset(MapRequest.__dataclass_fields__)


def map_asked(raw: Mapping[str, object]) -> MapRequest:
    """The map, checked.

    Raises:
        InvalidInputError: something about it is wrong; every field is named.
    """
    if unknown := sorted(set(raw) - _FIELDS):
        known = ", ".join(sorted(_FIELDS))
        message = f"There is no setting called {unknown[0][:40]!r}; there are {known}."
        raise invalid(unknown[0][:64], "unknown_field", message)
    try:
        return read_map_request(raw, side_max=SIDE_MAX)
    except RecipeInvalidError as error:
        raise InvalidInputError(error.problems) from error
