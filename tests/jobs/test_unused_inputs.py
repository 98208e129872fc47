"""Starting pictures that no job has wanted for long go, rows and bytes; no race loses one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone

from accounts.actors import Actor
from jobs.actors import sweep
from jobs.models import Job
from jobs.services import inputs
from jobs.services.inputs import sweep_inputs
from jobs.services.submission import submit_job
from library.models import ModelVersion
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from workspaces.access import find_input, hold_input
from workspaces.models import Artifact, ArtifactStatus, Workspace
from workspaces.services.artifacts import sweep_expected
from workspaces.services.uploads import add_upload


@pytest.fixture(autouse=True)
def _in_a(request: pytest.FixtureRequest) -> Iterator[None]:
    workspace: Workspace = request.getfixturevalue("workspace")
    with organization_scope(workspace.organization_id):
        yield


def add(actor: Actor, workspace: Workspace, *, days_ago: float = 0, color: str = "red") -> Artifact:
    content = factories.make_png(color)
    artifact = add_upload(actor=actor, workspace=workspace, content=content).picture
    then = timezone.now() - timedelta(days=days_ago)
    Artifact.objects.filter(pk=artifact.pk).update(created_at=then)
    artifact.refresh_from_db()
    return artifact


def job_with(actor: Actor, workspace: Workspace, artifact: Artifact) -> Job:
    raw = {"prompt": factories.PROMPT, "image": artifact.sha256, "strength": 0.5}
    return submit_job(actor=actor, workspace=workspace, raw=raw).job


def swept() -> int:
    with system_scope():
        return sweep_inputs()


@pytest.mark.django_db(transaction=True)
def test_old_and_unused_goes_with_its_bytes(
    bob_in_a: Actor, workspace: Workspace, settings: LazySettings
) -> None:
    settings.UNUSED_INPUT_DAYS = 3
    old = add(bob_in_a, workspace, days_ago=3.1)
    young = add(bob_in_a, workspace, days_ago=2.9, color="blue")

    with system_scope():
        sweep.fn()

    assert list(Artifact.objects.values_list("pk", flat=True)) == [young.pk]
    assert not storage.exists(old.storage_key)
    assert storage.exists(young.storage_key)


@pytest.mark.django_db(transaction=True)
def test_what_a_job_uses_stays(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion
) -> None:
    used = add(bob_in_a, workspace)
    job = job_with(bob_in_a, workspace, used)
    Artifact.objects.update(created_at=timezone.now() - timedelta(days=400))

    assert swept() == 0

    assert storage.exists(used.storage_key)
    assert job.inputs.get().artifact_id == used.pk


@pytest.mark.django_db(transaction=True)
def test_adding_a_picture_again_begins_its_time_anew(bob_in_a: Actor, workspace: Workspace) -> None:
    old = add(bob_in_a, workspace, days_ago=31)
    content = factories.make_png("red")
    again = add_upload(actor=bob_in_a, workspace=workspace, content=content).picture
    assert again.pk == old.pk
    assert swept() == 0


@pytest.mark.django_db(transaction=True)
def test_pictures_of_other_kinds_stay(output: object) -> None:
    Artifact.objects.update(created_at=timezone.now() - timedelta(days=400))
    count = Artifact.objects.count()
    assert count >= 2
    assert swept() == 0
    assert Artifact.objects.count() == count


@pytest.mark.django_db(transaction=True)
def test_a_store_that_refuses_is_asked_again(
    bob_in_a: Actor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = add(bob_in_a, workspace, days_ago=31)
    other = add(bob_in_a, workspace, days_ago=31, color="blue")
    erase = storage.delete

    def refuse(key: str) -> None:
        if key == stuck.storage_key:
            raise PermissionError("the store is read-only")
        erase(key)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", refuse)
        assert swept() == 2
    # Gone for everybody at once; the row still knows which bytes are left.
    assert find_input(workspace, stuck.sha256) is None
    assert not storage.exists(other.storage_key)
    assert storage.exists(stuck.storage_key)
    assert Artifact.objects.get().status == ArtifactStatus.EXPECTED

    with system_scope():
        assert sweep_expected() == 0  # not at once: others may be waiting
        Artifact.objects.update(expires_at=timezone.now())
        assert sweep_expected() == 1
    assert not storage.exists(stuck.storage_key)
    assert not Artifact.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_that_comes_first_keeps_the_picture(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion
) -> None:
    """The sweep meets the job's open transaction, and again right after its commit."""
    old = add(bob_in_a, workspace, days_ago=31)
    with transaction.atomic():
        job_with(bob_in_a, workspace, old)
        assert in_another_thread(swept) == 0
    assert swept() == 0
    assert storage.exists(old.storage_key)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_comes_second_is_told(
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The picture is found, then swept, then the job would be made."""
    old = add(bob_in_a, workspace, days_ago=31)

    def swept_before(artifact: Artifact) -> bool:
        assert in_another_thread(swept) == 1
        return hold_input(artifact)

    monkeypatch.setattr("jobs.services.inputs.hold_input", swept_before)
    with pytest.raises(InvalidInputError) as caught:
        job_with(bob_in_a, workspace, old)
    assert caught.value.problems[0].code == "unknown_image"
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_between_the_question_and_the_lock_is_seen(
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sweep has listed the picture as unused; a job takes it before the sweep gets to it."""
    old = add(bob_in_a, workspace, days_ago=31)
    sweep_one = inputs._sweep_one

    def submitted_before(artifact_id: str, before: datetime) -> int:
        with organization_scope(workspace.organization_id):
            job_with(bob_in_a, workspace, old)
        return sweep_one(artifact_id, before)

    monkeypatch.setattr("jobs.services.inputs._sweep_one", submitted_before)
    assert swept() == 0
    assert storage.exists(old.storage_key)


@pytest.mark.django_db(transaction=True)
def test_an_upload_of_the_same_picture_meets_the_sweep(
    bob_in_a: Actor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found and swept before its time is renewed: then it is stored anew."""
    old = add(bob_in_a, workspace, days_ago=31)

    def swept_after(place: Workspace, sha256: str) -> Artifact | None:
        found = find_input(place, sha256)
        assert in_another_thread(swept) == 1
        return found

    monkeypatch.setattr("workspaces.services.uploads.find_input", swept_after)
    content = factories.make_png("red")
    again = add_upload(actor=bob_in_a, workspace=workspace, content=content).picture
    assert again.pk != old.pk
    assert storage.exists(again.storage_key)


def in_another_thread(work: Callable[[], int]) -> int:
    """What it gives, done over a connection of its own."""
    found: list[int] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=20)
    return found[0]
