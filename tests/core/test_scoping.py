"""Tenancy at the choke point: every operation on a tenant-owned table needs a scope.

The table below is the allow-list's test: what Django can do with a queryset, one line each. These
pass without a scope, by design and for these reasons:

* `create`, `bulk_create`, `Model.save`: an insert names its organization itself and reads nothing
  (the database refuses it in a scope that does not fit: `test_row_security.py`);
* `none()` and other empty queries: they never reach the database;
* a foreign key of an object that is already at hand (`job.workspace`): having it is the proof;
* `raw()` and cursors: SQL by hand, which `test_no_sql_by_hand` keeps out of the product.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.db.models import Count, Exists, F, OuterRef, Prefetch, QuerySet

from accounts.models import (
    AuditEvent,
    IdentityProvider,
    Invitation,
    Organization,
    Team,
    TeamMember,
    User,
)
from jobs.models import (
    Grid,
    GridCell,
    Job,
    JobAttempt,
    JobInput,
    OrganizationShare,
    Output,
    RunRecord,
    Wildcard,
)
from library.models import ModelAsset, ModelFile, ModelUpload, ModelVersion
from studio.core.scoping import (
    ScopedManager,
    ScopeMissingError,
    current_scope,
    organization_scope,
    system_scope,
)
from tests import factories
from workspaces.models import Artifact, Project, ShareLink, Workspace, WorkspaceGrant

pytestmark = pytest.mark.django_db
OWNED = [
    AuditEvent,
    Team,
    TeamMember,
    Invitation,
    IdentityProvider,
    Workspace,
    WorkspaceGrant,
    Project,
    ShareLink,
    Artifact,
    ModelAsset,
    ModelVersion,
    ModelFile,
    ModelUpload,
    Job,
    JobAttempt,
    JobInput,
    Output,
    OrganizationShare,
    RunRecord,
    Wildcard,
    Grid,
    GridCell,
]


def every() -> QuerySet[Workspace]:
    return Workspace.objects.all()


SYNC: dict[str, Callable[[], Any]] = {
    "list": lambda: list(every()),
    "iterate": lambda: next(iter(every())),
    "bool": lambda: bool(every()),
    "len": lambda: len(every()),
    "repr": lambda: repr(every()),
    "index": lambda: every()[0],
    "slice": lambda: list(every()[:2]),
    "contains": lambda: every().contains(Workspace(pk="wsp_x")),
    "in": lambda: Workspace(pk="wsp_x") in every(),
    "get": lambda: every().get(pk="wsp_x"),
    "first": lambda: every().first(),
    "last": lambda: every().last(),
    "earliest": lambda: every().earliest("created_at"),
    "latest": lambda: every().latest("created_at"),
    "count": lambda: every().count(),
    "exists": lambda: every().exists(),
    "aggregate": lambda: every().aggregate(Count("pk")),
    "annotate": lambda: list(every().annotate(jobs_count=Count("jobs"))),
    "alias": lambda: list(every().alias(n=Count("jobs")).filter(n__gt=1)),
    "explain": lambda: every().explain(),
    "iterator": lambda: list(every().iterator()),
    "in_bulk": lambda: every().in_bulk(["wsp_x"]),
    "values": lambda: list(every().values("pk")),
    "values_list": lambda: list(every().values_list("pk", flat=True)),
    "dates": lambda: list(every().dates("created_at", "day")),
    "datetimes": lambda: list(every().datetimes("created_at", "day")),
    "distinct": lambda: list(every().distinct()),
    "order_by": lambda: list(every().order_by("?")),
    "reverse": lambda: list(every().order_by("pk").reverse()),
    "union": lambda: list(every().union(every())),
    "intersection": lambda: list(every().intersection(every())),
    "difference": lambda: list(every().difference(every().filter(pk="x"))),
    "or": lambda: list(every() | every()),
    "and": lambda: list(every() & every()),
    "exclude": lambda: list(every().exclude(pk="wsp_x")),
    "extra": lambda: list(every().extra(where=["true"])),
    "defer": lambda: list(every().defer("name")),
    "only": lambda: list(every().only("name")),
    "using": lambda: list(every().using("default")),
    "select_related": lambda: list(every().select_related("organization")),
    "select_for_update": lambda: list(every().select_for_update()),
    "prefetch_related": lambda: list(every().prefetch_related("jobs")),
    "update": lambda: every().update(name="stolen"),
    "update expression": lambda: every().update(name=F("color")),
    "delete": lambda: every().delete(),
    "raw delete": lambda: every()._raw_delete("default"),
    "get_or_create": lambda: Workspace.objects.get_or_create(name="x"),
    "update_or_create": lambda: Workspace.objects.update_or_create(name="x"),
    "bulk_update": lambda: Workspace.objects.bulk_update([Workspace(pk="wsp_x")], ["name"]),
    "str of the query": lambda: str(every().query),
    "subquery of a free table": lambda: list(
        User.objects.filter(pk__in=Job.objects.values("created_by"))
    ),
    "exists of a free table": lambda: list(
        User.objects.filter(Exists(Job.objects.filter(created_by=OuterRef("pk"))))
    ),
    "prefetch of a free table": lambda: list(
        Organization.objects.prefetch_related(Prefetch("workspaces", queryset=every()))
    ),
    "reverse relation": lambda: list(Organization(pk="org_x").workspaces.all()),
    "reverse count": lambda: Workspace(pk="wsp_x").jobs.count(),
}

ASYNC: dict[str, Callable[[], Awaitable[Any]]] = {
    "aget": lambda: every().aget(pk="wsp_x"),
    "afirst": lambda: every().afirst(),
    "alast": lambda: every().alast(),
    "aearliest": lambda: every().aearliest("created_at"),
    "alatest": lambda: every().alatest("created_at"),
    "acount": lambda: every().acount(),
    "aexists": lambda: every().aexists(),
    "acontains": lambda: every().acontains(Workspace(pk="wsp_x")),
    "aaggregate": lambda: every().aaggregate(Count("pk")),
    "aexplain": lambda: every().aexplain(),
    "ain_bulk": lambda: every().ain_bulk(["wsp_x"]),
    "aupdate": lambda: every().aupdate(name="stolen"),
    "adelete": lambda: every().adelete(),
    "aget_or_create": lambda: Workspace.objects.aget_or_create(name="x"),
    "aupdate_or_create": lambda: Workspace.objects.aupdate_or_create(name="x"),
    "async for": lambda: _first_of(every()),
    "aiterator": lambda: _first_of(every().aiterator()),
}


async def _first_of(rows: Any) -> Any:  # noqa: ANN401  # a queryset or its iterator
    return await anext(aiter(rows))


@pytest.mark.parametrize("name", SYNC)
def test_no_operation_passes_without_a_scope(name: str, workspace: Workspace) -> None:
    with pytest.raises(ScopeMissingError), transaction.atomic():
        SYNC[name]()
    with system_scope():
        assert Workspace.objects.get(pk=workspace.pk).name == "Room"


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ASYNC)
async def test_no_async_operation_passes_without_a_scope(name: str) -> None:
    with pytest.raises(ScopeMissingError):
        await ASYNC[name]()


def test_a_query_made_outside_does_not_run_inside(workspace: Workspace) -> None:
    """It would lack the filter on the organization."""
    made_outside = Workspace.objects.all()
    with organization_scope(workspace.organization_id), pytest.raises(ScopeMissingError):
        list(made_outside)


def test_a_query_made_in_one_scope_does_not_run_in_another(
    workspace: Workspace, workspace_b: Workspace
) -> None:
    with system_scope():
        all_rows = Workspace.objects.all()
    with organization_scope(workspace.organization_id), pytest.raises(ScopeMissingError):
        list(all_rows)


def test_a_scope_shows_its_organizations_rows_only(
    workspace: Workspace, workspace_b: Workspace
) -> None:
    with organization_scope(workspace.organization_id):
        assert list(every()) == [workspace]
        assert list(workspace_b.organization.workspaces.all()) == []
        assert every().filter(pk=workspace_b.pk).update(name="stolen") == 0
        assert every().filter(pk=workspace_b.pk).delete()[0] == 0
    with system_scope():
        assert set(every()) == {workspace, workspace_b}


def test_scopes_nest_and_end(workspace: Workspace) -> None:
    with organization_scope(workspace.organization_id):
        with system_scope():
            pass
        scope = current_scope()
        assert scope is not None
        assert scope.organization_id == workspace.organization_id
    assert current_scope() is None


def test_a_scope_ends_with_an_error(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="x"), organization_scope(workspace.organization_id):
        raise ValueError("x")
    assert current_scope() is None


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model.__name__)
def test_every_owned_table_is_behind_the_scope(model: Any) -> None:  # noqa: ANN401  # models
    assert isinstance(model._default_manager, ScopedManager)
    with pytest.raises(ScopeMissingError):
        model.objects.exists()


def test_every_table_with_an_organization_is_owned() -> None:
    """A new table must be added above, or to the ones that find the scope."""
    finders = {"Membership", "ApiToken"}
    from_registry = {
        model
        for model in _models()
        if any(field.name == "organization" for field in model._meta.fields)
    }
    assert {m.__name__ for m in from_registry} - finders <= {m.__name__ for m in OWNED}


def _models() -> list[Any]:
    return [model for app in (AuditEvent,) for model in app._meta.apps.get_models()]


def test_what_passes_the_choke_point_without_a_scope_meets_the_second_wall(
    workspace: Workspace, organization_a: Organization
) -> None:
    artifact = factories.make_input(workspace)
    with pytest.raises(ProgrammingError), transaction.atomic():
        Workspace.objects.create(organization=organization_a, name="Third")
    with pytest.raises(ProgrammingError), transaction.atomic():
        Workspace.objects.bulk_create([Workspace(organization=organization_a, name="Fourth")])
    with pytest.raises(Artifact.DoesNotExist):
        artifact.refresh_from_db()
    with organization_scope(organization_a.pk):
        artifact.refresh_from_db()
        assert artifact.workspace == workspace
    assert list(Workspace.objects.none()) == []


def test_no_sql_by_hand() -> None:
    """`raw()` and cursors pass the choke point; but for one migration, the uses name no table."""
    root = Path(__file__).resolve().parents[2]
    found = {
        (path.relative_to(root).as_posix(), line.strip())
        for package in ("studio", "accounts", "workspaces", "library", "jobs")
        for path in (root / package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\.raw\(|\.cursor\(|RawSQL|\.extra\(|_base_manager", line)
    }
    assert {path for path, _line in found} == {
        "jobs/announcements.py",
        "jobs/health.py",
        "jobs/migrations/0007_inputs.py",
        "studio/core/postgresql/base.py",
        "studio/core/row_security.py",
    }
