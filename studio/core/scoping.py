"""Tenancy at a choke point: a query on a tenant-owned table outside a scope raises.

The scope is the organization whose rows may be seen. It is opened by the edge (URL, token,
message, socket) and lives in a context variable, so it never outlives its request or task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models import sql
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Scope:
    """`organization_id` None is the system: the dispatcher, the reaper, an agent's own calls."""

    organization_id: str | None


_current: ContextVar[Scope | None] = ContextVar("studio_scope", default=None)


class ScopeMissingError(RuntimeError):
    """A tenant-owned table was queried outside a scope: a bug in our code, never in a request."""


def current_scope() -> Scope | None:
    """The scope in force, or None."""
    return _current.get()


@contextmanager
def organization_scope(organization_id: str) -> Iterator[None]:
    """See the rows of one organization."""
    token = _current.set(Scope(organization_id))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def system_scope() -> Iterator[None]:
    """See every organization's rows: only for the product's own machinery, never for a person."""
    token = _current.set(Scope(None))
    try:
        yield
    finally:
        _current.reset(token)


class ScopedQuery(sql.Query):
    """Refuses to become SQL outside the scope it was made in; all that Django does passes here.

    A query made outside any scope has no filter on the organization, so it must not run later
    inside one: `born_in` goes with every clone.
    """

    born_in: Scope | None = None

    def _refuse_outside_scope(self) -> None:
        if self.is_empty():
            return
        if _current.get() is None:
            raise ScopeMissingError(f"{self.model!r} was queried outside a scope")
        if self.born_in != _current.get():
            raise ScopeMissingError(f"{self.model!r} was queried in another scope")

    @override
    def get_compiler(self, *args: Any, **options: Any) -> Any:  # Django's signature
        self._refuse_outside_scope()
        return super().get_compiler(*args, **options)

    @override
    def chain(self, klass: Any = None) -> Any:  # Django's signature
        """`klass` turns the query into an update or delete, which would leave this class."""
        if klass is not None:
            self._refuse_outside_scope()
        return super().chain(klass)


Row = TypeVar("Row", bound=models.Model)


class ScopedQuerySet(models.QuerySet[Row]):
    """A queryset over `ScopedQuery`."""

    @override
    def _raw_delete(self, using: str | None) -> int:
        if _current.get() is None:
            raise ScopeMissingError(f"{self.model.__name__} was deleted from outside a scope")
        count: int = super()._raw_delete(using)
        return count


class ScopedManager(models.Manager[Row], Generic[Row]):
    """The default manager of tenant-owned tables: only rows of the scope's organization."""

    @override
    def get_queryset(self) -> ScopedQuerySet[Row]:
        query, scope = ScopedQuery(self.model), _current.get()
        query.born_in = scope
        queryset: ScopedQuerySet[Row] = ScopedQuerySet(self.model, query=query, using=self._db)
        if scope is None or scope.organization_id is None:
            return queryset
        return queryset.filter(self.visible_to(scope.organization_id))

    def visible_to(self, organization_id: str) -> models.Q:
        """Which rows an organization sees; a shared table widens this."""
        return models.Q(organization_id=organization_id)
