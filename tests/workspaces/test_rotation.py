"""New keys in place of old ones: everything opens all the while, and the old key no more."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.apps import apps
from django.core.management import call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization
from gpuagent.protocol.sealing import SealBrokenError, new_key
from jobs.models import Job, JobAttempt, Output
from jobs.recipes import open_manifest, open_recipe
from library.models import ModelVersion
from studio.core.keys import unwrap_with_any, unwrap_with_master
from studio.core.scoping import system_scope
from tests import factories
from workspaces.models import Artifact, Workspace
from workspaces.services import rotation
from workspaces.services.artifacts import read_all
from workspaces.services.keys import data_key, open_in, seal_in, workspace_keys

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with system_scope():
        yield


@pytest.fixture
def output(bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion) -> Output:
    return factories.make_output(bob_in_a, workspace, factories.make_agent().row, prompt="a mug")


def _opens(output: Output) -> None:
    """Everything of the room, as fresh from the database."""
    kept = Output.objects.get(pk=output.pk)
    assert open_recipe(Job.objects.get(pk=kept.job_id)).prompt == "a mug"
    assert open_manifest(kept)
    for artifact in Artifact.objects.filter(workspace=kept.workspace_id, status="stored"):
        assert read_all(artifact)
    for attempt in JobAttempt.objects.filter(job=kept.job_id):
        assert len(data_key(kept.workspace, attempt.wrapped_preview_key)) == 32


def test_everything_sealed_is_known_to_the_rotation() -> None:
    """A new column with something under a workspace's key must say so on its model."""
    ours = {"accounts", "workspaces", "library", "jobs"}
    binary = {
        (model.__name__, field.name)
        for model in apps.get_models()
        if model._meta.app_label in ours
        for field in model._meta.fields
        if field.get_internal_type() == "BinaryField"
    }
    others = {
        (model.__name__, name)
        for model in apps.get_models()
        for kind in ("under_master_key", "under_organization_key")
        for name in getattr(model, kind, ())
    }
    known = {(entry.model.__name__, entry.column) for entry in rotation.sealed_columns()}
    assert binary - others == known


def test_the_master_key_reaches_every_key_it_wraps(organization_b: Organization) -> None:
    wrapped = {
        (model.__name__, name)
        for model in apps.get_models()
        for name in getattr(model, "under_master_key", ())
    }
    assert wrapped >= {("Workspace", "wrapped_key"), ("Organization", "wrapped_key")}


def test_a_rotation_moves_every_key_and_loses_nothing(output: Output) -> None:
    workspace = Workspace.objects.get(pk=output.workspace_id)
    (old,) = workspace_keys(workspace)
    stored = Artifact.objects.filter(workspace=workspace).count()
    moved = rotation.rotate_workspace_key(workspace.pk)
    assert moved == stored + 4  # recipe, manifest, preview key, search key
    _opens(output)
    for artifact in Artifact.objects.filter(workspace=workspace):
        with pytest.raises(SealBrokenError):
            unwrap_with_any(artifact.wrapped_key, [old])
    assert AuditEvent.objects.filter(action="workspace.key_rotated").count() == 1


def test_the_old_key_is_destroyed_after_an_hour(output: Output) -> None:
    rotation.rotate_workspace_key(output.workspace_id)
    assert rotation.retire_keys() == []
    _an_hour_passes()
    assert rotation.retire_keys() == [output.workspace_id]
    workspace = Workspace.objects.get(pk=output.workspace_id)
    assert workspace.retiring_key is None
    assert len(workspace_keys(workspace)) == 1
    _opens(output)


def test_what_was_written_under_the_old_key_meanwhile_is_caught(output: Output) -> None:
    late = Workspace.objects.get(pk=output.workspace_id)  # a process that read it before
    rotation.rotate_workspace_key(output.workspace_id)
    artifact = factories.make_input(late)
    _an_hour_passes()
    rotation.retire_keys()
    assert read_all(Artifact.objects.get(pk=artifact.pk))


def test_a_process_that_knows_the_old_key_only_reads_what_has_moved(output: Output) -> None:
    late = Workspace.objects.get(pk=output.workspace_id)
    rotation.rotate_workspace_key(output.workspace_id)
    sealed = Job.objects.get(pk=output.job_id).sealed_recipe
    assert open_in(late, bytes(sealed), kind="recipe", object_id=output.job_id)


def test_a_rotation_that_was_broken_off_goes_on(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = rotation._move_column

    def stop(entry: rotation.SealedColumn, *rest: object) -> int:
        if entry.column == "sealed_manifest":
            raise KeyboardInterrupt
        return move(entry, *rest)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(rotation, "_move_column", stop)
    with pytest.raises(KeyboardInterrupt):
        rotation.rotate_workspace_key(output.workspace_id)
    _opens(output)
    monkeypatch.undo()
    keys = bytes(Workspace.objects.get(pk=output.workspace_id).wrapped_key)
    rotation.rotate_workspace_key(output.workspace_id)
    assert bytes(Workspace.objects.get(pk=output.workspace_id).wrapped_key) == keys
    _an_hour_passes()
    rotation.retire_keys()
    _opens(output)


def test_a_damaged_row_stops_nothing(output: Output) -> None:
    Job.objects.filter(pk=output.job_id).update(sealed_recipe=b"spoiled")
    rotation.rotate_workspace_key(output.workspace_id)
    assert open_manifest(Output.objects.get(pk=output.pk))


def test_a_sweep_leaves_the_key_of_a_rotation_begun_since(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation.rotate_workspace_key(output.workspace_id)
    _an_hour_passes()
    move = rotation._move

    def another_rotation_meanwhile(workspace: Workspace) -> int:
        moved = move(workspace)
        monkeypatch.undo()
        rotation.retire_keys()  # a sweep beside this one
        rotation.rotate_workspace_key(workspace.pk)
        return moved

    monkeypatch.setattr(rotation, "_move", another_rotation_meanwhile)
    assert rotation.retire_keys() == []
    assert Workspace.objects.get(pk=output.workspace_id).retiring_key is not None
    _opens(output)


def test_a_workspace_without_its_master_key_does_not_stop_the_sweep(
    output: Output, workspace_b: Workspace
) -> None:
    rotation.rotate_workspace_key(output.workspace_id)
    rotation.rotate_workspace_key(workspace_b.pk)
    _an_hour_passes()
    Workspace.objects.filter(pk=output.workspace_id).update(wrapped_key=b"of another master key")
    assert rotation.retire_keys() == [workspace_b.pk]


def test_another_room_keeps_its_key(output: Output, workspace_b: Workspace) -> None:
    before = bytes(workspace_b.wrapped_key)
    rotation.rotate_workspace_key(output.workspace_id)
    workspace_b.refresh_from_db()
    assert bytes(workspace_b.wrapped_key) == before


def test_a_new_master_key_takes_over(output: Output, settings: Settings) -> None:
    old = settings.STUDIO_MASTER_KEY.split()[0]
    new = base64.b64encode(new_key()).decode()
    settings.STUDIO_MASTER_KEY = f"{old}\n{new}"  # every process learns the new one first
    sealed = _sealed(output)
    settings.STUDIO_MASTER_KEY = f"{new}\n{old}"
    _opens(output)
    call_command("rotate_master_key")
    settings.STUDIO_MASTER_KEY = new
    _opens(output)
    output.organization.refresh_from_db()
    assert unwrap_with_master(output.organization.wrapped_key)
    assert open_in(output.workspace, sealed, kind="k", object_id="o") == b"x"
    settings.STUDIO_MASTER_KEY = old
    with pytest.raises(SealBrokenError):
        unwrap_with_master(Workspace.objects.get(pk=output.workspace_id).wrapped_key)


def test_the_commands_say_what_they_did(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("rotate_workspace_key", output.workspace_id)
    assert output.workspace_id in capsys.readouterr().out
    call_command("rotate_workspace_key", "--all")
    assert "destroyed" in capsys.readouterr().out


def _sealed(output: Output) -> bytes:
    return seal_in(Workspace.objects.get(pk=output.workspace_id), b"x", kind="k", object_id="o")


def _an_hour_passes() -> None:
    Workspace.objects.filter(rotated_at__isnull=False).update(
        rotated_at=timezone.now() - rotation.WRITERS_MAY_LAST - timedelta(minutes=1)
    )
