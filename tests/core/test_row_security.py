"""The second wall: what SQL by hand sees in a scope, and that it is the database that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from accounts.models import AuditEvent, IdentityProvider, Invitation, Organization, User
from accounts.roles import Role
from jobs.models import Grid, GridCell, Job, OrganizationShare, RunRecord, Wildcard
from library.models import ModelAsset
from studio.core.row_security import is_passed_by
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.core.test_scoping import OWNED
from workspaces.models import Project, ShareLink, Workspace

pytestmark = pytest.mark.django_db
TABLES = sorted(model._meta.db_table for model in OWNED)


def rows(sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def both(tmp_path: Path) -> tuple[Organization, Organization]:
    """Two organizations with a picture, a token and a model of its own each."""
    agent = factories.make_agent().row
    made = []
    for name in ("Alpha", "Beta"):
        organization = factories.make_organization(name)
        artist = factories.make_member(organization)
        workspace = factories.make_workspace(organization)
        folder = factories.make_tiny_folder(tmp_path / name, weights=name.encode())
        factories.make_model_version(organization=organization, folder=folder, name=name)
        factories.make_model_upload(organization)
        factories.make_token(artist, organization)
        image = factories.make_input(workspace).sha256
        actor = factories.make_actor(artist, organization)
        factories.make_output(actor, workspace, agent, image=image)
        factories.make_grant(workspace, factories.make_team(organization, artist))
        _make_what_has_no_service_yet(organization, workspace, artist)
        made.append(organization)
    return made[0], made[1]


def _make_what_has_no_service_yet(
    organization: Organization, workspace: Workspace, by: User
) -> None:
    now = timezone.now()
    with organization_scope(organization.pk):
        Invitation.objects.create(
            organization=organization,
            email="guest@example.org",
            role=Role.VIEWER.value,
            token_hash=organization.pk,
            invited_by=by,
            sent_at=now,
            expires_at=now,
        )
        IdentityProvider.objects.create(organization=organization, kind="oidc", sealed_config=b"")
        where = {"organization": organization, "workspace": workspace, "created_by": by}
        Project.objects.create(sealed_name=b"", **where)
        ShareLink.objects.create(
            sealed_title=b"", token_hash=organization.pk, expires_at=now, **where
        )
        Wildcard.objects.create(sealed_list=b"", **where)
        grid = Grid.objects.create(sealed_axes=b"", **where)
        job = Job.objects.filter(organization=organization)[0]
        GridCell.objects.create(organization=organization, grid=grid, job=job, place=0)
        OrganizationShare.objects.create(organization=organization)
        RunRecord.objects.create(
            organization=organization,
            attempt_id=organization.pk,
            width=8,
            height=8,
            steps=1,
            pictures=1,
            ended_at=now,
        )


def test_the_audit_log_is_append_only(both: tuple[Organization, Organization]) -> None:
    with system_scope():
        assert AuditEvent.objects.exists()
        for change in (
            lambda: AuditEvent.objects.update(actor_id="usr_somebody_else"),
            lambda: AuditEvent.objects.all().delete(),
        ):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()


@pytest.mark.parametrize("table", TABLES)
def test_row_security_is_on_and_holds_for_the_owner(table: str) -> None:
    flags = rows(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = %s", table
    )
    assert flags == [(True, True)]


def test_our_role_cannot_pass_it_by() -> None:
    assert not is_passed_by()
    assert rows("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user") == [
        (False, False)
    ]


@pytest.mark.parametrize("table", TABLES)
def test_sql_by_hand_sees_one_organization(
    table: str, both: tuple[Organization, Organization]
) -> None:
    seen = []
    for organization in both:
        with organization_scope(organization.pk):
            seen.append({row[0] for row in rows(f'SELECT id FROM "{table}"')})  # noqa: S608  # our table names
    with system_scope():
        everything = {row[0] for row in rows(f'SELECT id FROM "{table}"')}  # noqa: S608  # as above
    assert rows(f'SELECT id FROM "{table}"') == []  # noqa: S608  # as above
    assert seen[0]
    assert seen[1]
    assert seen[0] | seen[1] == everything
    assert not seen[0] & seen[1]


def test_sql_by_hand_changes_one_organization(both: tuple[Organization, Organization]) -> None:
    alpha, beta = both
    with organization_scope(alpha.pk), connection.cursor() as cursor:
        cursor.execute("UPDATE workspaces_workspace SET name = 'taken'")
        assert cursor.rowcount == 1
        cursor.execute("DELETE FROM jobs_output WHERE organization_id = %s", (beta.pk,))
        assert cursor.rowcount == 0
    with organization_scope(beta.pk):
        assert Workspace.objects.get().name == "Room"


def test_no_row_can_be_put_into_another_organization(
    both: tuple[Organization, Organization],
) -> None:
    alpha, beta = both
    with organization_scope(alpha.pk):
        own = Workspace.objects.get()
        with pytest.raises(DatabaseError), transaction.atomic():
            Workspace(organization=beta, name="Planted").save(force_insert=True)
        own.organization = beta
        with pytest.raises(DatabaseError), transaction.atomic():
            own.save()
    with pytest.raises(DatabaseError), transaction.atomic():
        Workspace.objects.create(organization=beta, name="From nowhere")


def test_public_models_are_seen_by_all_and_written_by_the_system(
    both: tuple[Organization, Organization],
) -> None:
    with system_scope():
        ModelAsset.objects.create(organization=None, name="Public", kind="checkpoint")
    for organization in both:
        with organization_scope(organization.pk), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM library_modelasset WHERE name = 'Public'")
            assert cursor.fetchone() == (1,)
            cursor.execute("UPDATE library_modelasset SET name = 'Mine' WHERE name = 'Public'")
            assert cursor.rowcount == 0
    assert rows("SELECT id FROM library_modelasset") == []


def test_a_rollback_does_not_leave_another_scope_behind(
    both: tuple[Organization, Organization],
) -> None:
    """PostgreSQL takes back a setting with the transaction it was made in; we must notice."""
    alpha, beta = both
    with organization_scope(alpha.pk):
        assert rows("SELECT organization_id FROM workspaces_workspace") == [(alpha.pk,)]
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            with organization_scope(beta.pk):
                assert rows("SELECT organization_id FROM workspaces_workspace") == [(beta.pk,)]
            raise ZeroDivisionError
        assert rows("SELECT organization_id FROM workspaces_workspace") == [(alpha.pk,)]
    with organization_scope(beta.pk):
        assert rows("SELECT organization_id FROM workspaces_workspace") == [(beta.pk,)]


def test_a_statement_that_failed_in_another_scope_can_be_rolled_back(
    both: tuple[Organization, Organization],
) -> None:
    alpha, beta = both
    with organization_scope(alpha.pk):
        rows("SELECT id FROM workspaces_workspace")
        with pytest.raises(DatabaseError), transaction.atomic(), organization_scope(beta.pk):
            rows("SELECT 1 / 0")
        assert rows("SELECT organization_id FROM workspaces_workspace") == [(alpha.pk,)]


def test_a_connection_used_again_forgets(both: tuple[Organization, Organization]) -> None:
    with organization_scope(both[0].pk):
        assert rows("SELECT id FROM workspaces_workspace")
    assert rows("SELECT id FROM workspaces_workspace") == []


def test_with_the_wall_off_the_test_above_would_fail(
    both: tuple[Organization, Organization],
) -> None:
    with organization_scope(both[0].pk):
        assert len(rows("SELECT id FROM workspaces_workspace")) == 1
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute("ALTER TABLE workspaces_workspace DISABLE ROW LEVEL SECURITY")
            assert len(rows("SELECT id FROM workspaces_workspace")) == 2
            transaction.set_rollback(True)
