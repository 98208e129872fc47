"""Deleting a workspace, bringing it back, and destroying it: what is left opens no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization, User
from accounts.roles import Role
from gpuagent.protocol.sealing import SealBrokenError, unwrap_key
from jobs.actors import sweep
from jobs.lifecycle import JobStatus
from jobs.models import Grid, GridCell, Job, JobAttempt, Output
from jobs.recipes import open_manifest, open_recipe
from jobs.services import destruction
from jobs.services.deletion import delete_workspace, restore_workspace, stop_jobs_of_deleted
from jobs.services.destruction import OWNED, destroy_due
from library.models import ModelVersion
from studio.core import storage
from studio.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from studio.core.keys import _master_keys
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Artifact, Project, ShareLink, Workspace
from workspaces.services.artifacts import artifact_context, read_all
from workspaces.services.keys import data_key, open_in, seal_in
from workspaces.services.rotation import rotate_workspace_key
from workspaces.signing import media_url

pytestmark = pytest.mark.django_db


def delete(actor: Actor, workspace: Workspace) -> bool:
    with organization_scope(actor.organization_id):
        return delete_workspace(actor=actor, workspace=workspace, confirmation=workspace.name)


def restore(actor: Actor, workspace: Workspace) -> bool:
    with organization_scope(actor.organization_id):
        return restore_workspace(actor=actor, workspace=workspace)


def let_time_pass(workspace: Workspace) -> None:
    past = timezone.now() - timedelta(seconds=1)
    with system_scope():
        Workspace.objects.filter(pk=workspace.pk).update(destroy_at=past)


def destroy(workspace: Workspace, **options: Any) -> list[str]:  # noqa: ANN401  # passes through
    let_time_pass(workspace)
    with system_scope():
        return destroy_due(**options)


@pytest.fixture
def full(
    alice: User, alice_in_a: Actor, workspace: Workspace, output: Output, agent: AgentHandle
) -> Workspace:
    """The room with one of everything: pictures, a starting picture, a project, a link, a grant."""
    image = factories.make_input(workspace)
    factories.make_output(alice_in_a, workspace, agent.row, image=image.sha256, strength=0.5)
    with organization_scope(workspace.organization_id):
        again = Output.objects.exclude(pk=output.pk).get()
        Job.objects.filter(pk=again.job_id).update(rerun_of=output)
        where = {"organization_id": workspace.organization_id, "workspace": workspace}
        project = Project(created_by=alice, **where)
        project.sealed_name = seal_in(workspace, b"Launch", kind="name", object_id=project.pk)
        project.save()
        Job.objects.filter(pk=again.job_id).update(project=project)
        link = ShareLink(
            created_by=alice, project=project, token_hash="x", expires_at=timezone.now(), **where
        )
        link.sealed_title = seal_in(workspace, b"Client", kind="title", object_id=link.pk)
        link.save()
        grid = Grid(created_by=alice, **where)
        grid.sealed_axes = seal_in(workspace, b"[]", kind="grid", object_id=grid.pk)
        grid.save()
        whose = {"organization_id": workspace.organization_id}
        GridCell.objects.create(grid=grid, job_id=output.job_id, place=0, **whose)
    factories.make_wildcard(alice_in_a, workspace)
    factories.make_grant(workspace, alice)
    return workspace


def rows_of(workspace_id: str) -> dict[str, int]:
    with system_scope():
        found: dict[str, int] = {
            model.__name__: model._default_manager.filter(**{owner: workspace_id}).count()
            for model, owner in OWNED
        }
    return found


# ------------------------------------------------------------------ gone at once


def test_it_is_gone_for_everybody_at_once(
    full: Workspace,
    output: Output,
    alice: User,
    alice_in_a: Actor,
    organization_a: Organization,
    client_of: Callable[[User], Client],
    api_of: Callable[[User, Organization], Client],
) -> None:
    page, api = client_of(alice), api_of(alice, organization_a)
    with system_scope():
        address = media_url(output.picture)
    calls = (
        (page, f"/w/{full.pk}/"),
        (page, f"/w/{full.pk}/access"),
        (page, f"/w/{full.pk}/outputs/{output.pk}"),
        (api, f"/api/v1/outputs/{output.pk}"),
        (api, f"/api/v1/jobs/{output.job_id}"),
        (api, f"/api/v1/jobs?workspace={full.pk}"),
        (api, f"/api/v1/workspaces/{full.pk}"),
        (Client(), address),
    )
    assert {client.get(path).status_code for client, path in calls} == {200}
    assert delete(alice_in_a, full)
    assert {client.get(path).status_code for client, path in calls} == {404}
    assert full.pk not in api.get("/api/v1/workspaces").content.decode()


def test_only_owners_delete_and_only_by_its_name(
    workspace: Workspace, organization_a: Organization, bob_in_a: Actor, alice_in_a: Actor
) -> None:
    admin = factories.make_actor(factories.make_member(organization_a, Role.ADMIN), organization_a)
    for actor in (bob_in_a, admin):
        with pytest.raises(ForbiddenError):
            delete(actor, workspace)
    with organization_scope(organization_a.pk), pytest.raises(InvalidInputError) as caught:
        delete_workspace(actor=alice_in_a, workspace=workspace, confirmation="room")
    assert "Room" in caught.value.message
    with system_scope():
        assert Workspace.objects.get(pk=workspace.pk).deleted_at is None


def test_another_organization_deletes_and_restores_nothing(
    workspace: Workspace, charlie_in_b: Actor, alice_in_a: Actor
) -> None:
    with pytest.raises(NotFoundError):
        delete(charlie_in_b, workspace)
    delete(alice_in_a, workspace)
    with pytest.raises(Workspace.DoesNotExist):
        restore(charlie_in_b, workspace)


def test_open_jobs_are_stopped(
    workspace: Workspace,
    alice_in_a: Actor,
    bob_in_a: Actor,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    waiting = factories.make_job(bob_in_a, workspace)
    running = factories.make_job(bob_in_a, workspace)
    factories.make_attempt(running, agent.row)
    delete(alice_in_a, workspace)
    with system_scope():
        waiting.refresh_from_db()
        running.refresh_from_db()
        assert waiting.status == JobStatus.CANCELED
        assert running.cancel_requested_at is not None
        event = AuditEvent.objects.get(action="workspace.deleted")
    assert event.details == {"open_jobs": 2}


def test_what_was_submitted_in_that_very_moment_is_stopped_by_the_sweep(
    workspace: Workspace, alice_in_a: Actor, bob_in_a: Actor, model_version: ModelVersion
) -> None:
    delete(alice_in_a, workspace)
    with system_scope():
        workspace.deleted_at = None
        late = factories.make_job(bob_in_a, workspace)  # its check came before
        assert stop_jobs_of_deleted() == 1
        late.refresh_from_db()
    assert late.status == JobStatus.CANCELED


def test_deleting_twice_is_once(workspace: Workspace, alice_in_a: Actor) -> None:
    other_tab = Workspace(
        pk=workspace.pk, organization_id=workspace.organization_id, name=workspace.name
    )
    assert delete(alice_in_a, workspace)
    assert not delete(alice_in_a, other_tab)


# ------------------------------------------------------------------ seven days


def test_it_comes_back_with_all_that_lies_in_it(
    full: Workspace, output: Output, alice_in_a: Actor, bob: User, client_of: Callable[..., Client]
) -> None:
    before = rows_of(full.pk)
    delete(alice_in_a, full)
    with system_scope():
        kept = Workspace.objects.get(pk=full.pk)
        assert kept.destroy_at is not None
        assert kept.deleted_at is not None
        assert kept.destroy_at - kept.deleted_at == timedelta(days=7)
        assert destroy_due() == []
    assert restore(alice_in_a, full)
    assert not restore(alice_in_a, full)
    assert rows_of(full.pk) == before
    assert client_of(bob).get(f"/w/{full.pk}/outputs/{output.pk}").status_code == 200


def test_after_seven_days_it_does_not_come_back(workspace: Workspace, alice_in_a: Actor) -> None:
    delete(alice_in_a, workspace)
    let_time_pass(workspace)
    with pytest.raises(ConflictError, match="conflict") as caught:
        restore(alice_in_a, workspace)
    assert "seven days" in caught.value.message


def test_nor_while_it_is_being_destroyed(
    full: Workspace, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete(alice_in_a, full)
    assert destroy(full, seconds=-1.0) == []
    with system_scope():
        later = timezone.now() + timedelta(days=1)
        Workspace.objects.filter(pk=full.pk).update(destroy_at=later)
    with pytest.raises(ConflictError):
        restore(alice_in_a, full)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["restore", "sweep"])
def test_of_restoring_and_destroying_one_wins(
    workspace: Workspace, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Both at the last moment, each in a transaction of its own: the row's lock decides."""
    delete(alice_in_a, workspace)
    done: dict[str, object] = {}
    locked = threading.Event()
    moment = timezone.now()

    def act(name: str, work: Callable[[], object]) -> None:
        try:
            done[name] = work()
        except ConflictError as error:
            done[name] = error
        finally:
            connection.close()

    def sweeping() -> object:
        with system_scope():
            return destroy_due()

    # For the one it is a second before the end, for the other a second after.
    with system_scope():
        Workspace.objects.filter(pk=workspace.pk).update(destroy_at=moment + timedelta(seconds=1))
    monkeypatch.setattr(
        "jobs.services.destruction.timezone",
        type("Later", (), {"now": staticmethod(lambda: moment + timedelta(seconds=2))}),
    )
    monkeypatch.setattr(
        "jobs.services.deletion.timezone",
        type("Before", (), {"now": staticmethod(lambda: moment)}),
    )
    held = "jobs.services.deletion" if first == "restore" else "jobs.services.destruction"
    name = "record_event" if first == "restore" else "record_system"
    module: Any = __import__(held, fromlist=[name])
    record = getattr(module, name)

    def slowly(*args: object, **options: object) -> None:
        locked.set()
        threading.Event().wait(0.4)  # the other one stands at the lock by now
        record(*args, **options)

    monkeypatch.setattr(f"{held}.{name}", slowly)
    work = {"restore": lambda: restore(alice_in_a, workspace), "sweep": sweeping}
    leading = threading.Thread(target=act, args=(first, work[first]))
    other = "sweep" if first == "restore" else "restore"
    following = threading.Thread(target=act, args=(other, work[other]))
    leading.start()
    assert locked.wait(10)
    following.start()
    leading.join(20)
    following.join(20)

    with system_scope():
        kept = Workspace.objects.filter(pk=workspace.pk).first()
    if first == "restore":
        assert done == {"restore": True, "sweep": []}
        assert kept is not None
        assert kept.wrapped_key
    else:
        assert done["sweep"] == [workspace.pk]
        assert isinstance(done["restore"], ConflictError | Workspace.DoesNotExist)
        assert kept is None


# ------------------------------------------------------------------ destroyed


def test_nothing_is_left_but_the_audit_log(
    full: Workspace, alice_in_a: Actor, store_folder: Path
) -> None:
    with system_scope():
        (store_folder / full.organization_id / full.pk / "art_orphan.sealed").write_bytes(b"x")
        events = AuditEvent.objects.count()
    assert all(rows_of(full.pk).values()), "the test must have one of everything"
    delete(alice_in_a, full)
    assert destroy(full) == [full.pk]
    assert set(rows_of(full.pk).values()) == {0}
    assert not (store_folder / full.organization_id / full.pk).exists()
    with system_scope():
        assert not Workspace.objects.filter(pk=full.pk).exists()
        assert AuditEvent.objects.count() == events + 3
        event = AuditEvent.objects.get(action="workspace.destroyed")
    assert event.actor_id == "system"
    assert event.details["pictures"] == 2
    assert event.details["jobs"] == 2
    assert event.details["files"] == 5
    assert event.details["bytes"] > 0


def test_other_workspaces_keep_everything(
    full: Workspace,
    organization_a: Organization,
    alice_in_a: Actor,
    agent: AgentHandle,
) -> None:
    neighbor = factories.make_workspace(organization_a, "Next door")
    kept = factories.make_output(alice_in_a, neighbor, agent.row)
    delete(alice_in_a, full)
    destroy(full)
    with system_scope():
        assert read_all(kept.picture)
        assert open_manifest(kept)


def test_every_table_that_names_a_workspace_is_emptied() -> None:
    """A new one must be added to `OWNED`, in its place."""
    named = {
        model
        for model in apps.get_models()
        for field in model._meta.fields
        if isinstance(field, models.ForeignKey) and field.related_model is Workspace
    }
    assert named <= {model for model, _owner in OWNED}


def test_every_table_with_something_under_its_key_is_emptied() -> None:
    sealed = {model for model in apps.get_models() if getattr(model, "under_workspace_key", None)}
    assert sealed - {Workspace} <= {model for model, _owner in OWNED}


class Killed(BaseException):
    """What no `except Exception` stops."""


@pytest.mark.parametrize("survived", range(0, 12, 2))
def test_it_can_be_killed_anywhere_and_goes_on(
    full: Workspace,
    alice_in_a: Actor,
    store_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    survived: int,
) -> None:
    delete(alice_in_a, full)
    monkeypatch.setattr(destruction, "BATCH", 1)
    steps = iter(range(100))

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: object) -> object:
            if next(steps) >= survived:
                raise Killed
            return work(*args)

        return run

    with monkeypatch.context() as dying:
        dying.setattr(storage, "delete", counted(storage.delete))
        dying.setattr(destruction, "_remove_batch", counted(destruction._remove_batch))
        with pytest.raises(Killed):
            destroy(full)
    with system_scope():
        assert not Workspace.objects.get(pk=full.pk).wrapped_key, "the key goes first"
        assert destroy_due() == [full.pk]
    assert set(rows_of(full.pk).values()) == {0}
    assert not (store_folder / full.organization_id / full.pk).exists()
    with system_scope():
        event = AuditEvent.objects.get(action="workspace.destroyed")
        assert AuditEvent.objects.filter(action="workspace.key_destroyed").count() == 1
    assert event.details["pictures"] == 2, "counted before the first row went"


def test_one_that_cannot_be_destroyed_does_not_hold_up_the_others(
    full: Workspace,
    organization_a: Organization,
    alice_in_a: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    factories.make_input(other)
    for workspace in (full, other):
        delete(alice_in_a, workspace)
        let_time_pass(workspace)
    delete_object = storage.delete

    def away(key: str) -> None:
        if full.pk in key:
            raise OSError("the store is away")
        delete_object(key)

    with monkeypatch.context() as broken, system_scope():
        broken.setattr(storage, "delete", away)
        assert destroy_due() == [other.pk]
    with system_scope():
        assert destroy_due() == [full.pk]


def test_the_sweep_does_it(full: Workspace, alice_in_a: Actor) -> None:
    delete(alice_in_a, full)
    sweep()
    assert all(rows_of(full.pk).values())
    let_time_pass(full)
    sweep()
    assert set(rows_of(full.pk).values()) == {0}


def test_a_destroyed_key_is_not_given_a_successor(full: Workspace, alice_in_a: Actor) -> None:
    delete(alice_in_a, full)
    destroy(full, seconds=-1.0)
    with system_scope():
        assert rotate_workspace_key(full.pk) == 0
        assert not Workspace.objects.get(pk=full.pk).wrapped_key


# ------------------------------------------------------------------ and the copies of before


class Copies:
    """What a backup taken before holds: the sealed columns and objects, but not the key's row."""

    def __init__(self, workspace: Workspace) -> None:
        self.outputs = list(
            Output.objects.filter(workspace=workspace).select_related("workspace", "job__workspace")
        )
        self.attempts = list(JobAttempt.objects.filter(job__workspace=workspace))
        self.projects = list(Project.objects.filter(workspace=workspace))
        self.artifacts = list(
            Artifact.objects.filter(workspace=workspace).select_related("workspace")
        )
        self.objects = {}
        for artifact in self.artifacts:
            with storage.open_object(artifact.storage_key) as file:
                self.objects[artifact.storage_key] = file.read()

    def put_back(self, workspace: Workspace) -> None:
        """Objects into the store again, and the rows in the hand of somebody with this key row."""
        for key, content in self.objects.items():
            storage.put(key, content)
        for output in self.outputs:
            output.workspace = output.job.workspace = workspace
        for artifact in self.artifacts:
            artifact.workspace = workspace

    def attempts_to_open(self, workspace: Workspace) -> list[Callable[[], object]]:
        tries: list[Callable[[], object]] = []
        for output in self.outputs:
            tries += [partial(open_manifest, output), partial(open_recipe, output.job)]
        for attempt in self.attempts:
            tries.append(partial(data_key, workspace, attempt.wrapped_preview_key))
        for project in self.projects:
            sealed = bytes(project.sealed_name)
            tries.append(partial(open_in, workspace, sealed, kind="name", object_id=project.pk))
        tries += [partial(read_all, artifact) for artifact in self.artifacts]
        return tries


def _opens(attempt: Callable[[], object]) -> bool:
    try:
        return bool(attempt())
    except SealBrokenError:
        return False


def test_what_was_stored_opens_no_more_with_the_master_key_in_hand(
    full: Workspace, alice_in_a: Actor, settings: Settings
) -> None:
    with system_scope():
        backup = Workspace.objects.get(pk=full.pk)
        copies = Copies(full)
    delete(alice_in_a, full)
    destroy(full, seconds=-1.0)  # the key is gone; rows and objects go after it
    with system_scope():
        after = Workspace.objects.get(pk=full.pk)
        copies.put_back(after)
        tries = copies.attempts_to_open(after)
        assert len(tries) >= 12
        assert not [number for number, attempt in enumerate(tries) if _opens(attempt)]

        # Nor by hand: the master key unwraps none of the data keys, which is all that it could do.
        for master in _master_keys(settings.STUDIO_MASTER_KEY):
            for wrapped in [bytes(a.wrapped_key) for a in copies.artifacts]:
                with pytest.raises(SealBrokenError):
                    unwrap_key(wrapped, wrapping_key=master)

        # The same copies with the key's row from before, as in an old backup: they open.
        copies.put_back(backup)
        assert all(_opens(attempt) for attempt in copies.attempts_to_open(backup))
        assert artifact_context(copies.artifacts[0]).organization == full.organization_id
