"""Ids of the outer world: a three-letter prefix and a ULID, 30 characters, sortable by time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from typing_extensions import override
from ulid import ULID

ID_LENGTH = 30

# Generic for the type checker only.
if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


def new_id(prefix: str) -> str:
    """A fresh id such as `job_01JD…`."""
    return f"{prefix}_{ULID()}"


class IdField(_CharField):
    """Primary key that makes its own prefixed id."""

    def __init__(self, *, prefix: str = "", **options: Any) -> None:  # noqa: ANN401  # Django's own field options
        self.prefix = prefix
        options.update(primary_key=True, max_length=ID_LENGTH, editable=False)
        options["default"] = self._make
        super().__init__(**options)

    def _make(self) -> str:
        return new_id(self.prefix)

    @override
    def deconstruct(self) -> Any:  # Django's signature
        """For migrations: the prefix says everything."""
        name, path, args, _options = super().deconstruct()
        return name, path, args, {"prefix": self.prefix}


def lowest_id(prefix: str, at: datetime) -> str:
    """The id that all ids made at that moment or later are above: times as bounds of ids."""
    milliseconds = max(0, int(at.timestamp() * 1000))
    return f"{prefix}_{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + bytes(10))}"
