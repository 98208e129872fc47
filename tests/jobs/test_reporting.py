"""What agents report: a picture stored, the attempt finished. Fenced, and safe to hear twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounts.actors import Actor
from gpuagent.protocol.messages import AttemptError, AttemptFinish, StoredFile
from jobs.dispatcher import Dispatcher
from jobs.lifecycle import AttemptStatus, JobStatus
from jobs.models import Job, JobAttempt, Output
from jobs.recipes import open_manifest
from jobs.services.cancellation import cancel_job
from jobs.services.reporting import commit_output, finish_attempt, note_started
from library.models import ModelVersion
from studio.core import storage
from studio.core.errors import ConflictError
from tests import factories
from tests.factories import GIB, AgentHandle
from workspaces.models import Artifact, ArtifactStatus, Workspace
from workspaces.services.artifacts import read_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


@pytest.fixture
def job(bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion) -> Job:
    return factories.make_job(bob_in_a, workspace, seed=100)


@pytest.fixture
def attempt(job: Job, agent: AgentHandle) -> JobAttempt:
    return factories.make_attempt(job, agent.row)


@pytest.fixture
def files(attempt: JobAttempt, agent: AgentHandle) -> tuple[StoredFile, StoredFile]:
    return factories.make_stored_pair(agent.row, attempt)


def finish(attempt: JobAttempt, status: str, error: AttemptError | None = None) -> AttemptFinish:
    return AttemptFinish(fence=attempt.fence, status=status, error=error, timings={"total": 1.5})


def test_a_start_is_noted_once(job: Job, attempt: JobAttempt, agent: AgentHandle) -> None:
    assert note_started(agent.row, attempt.pk, attempt.fence)
    assert not note_started(agent.row, attempt.pk, attempt.fence)

    job.refresh_from_db()
    attempt.refresh_from_db()
    assert job.started_at == attempt.started_at is not None
    assert attempt.status == AttemptStatus.RUNNING.value


def test_a_committed_picture_opens_to_the_bytes_that_were_sealed(
    job: Job, attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile]
) -> None:
    assert commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))

    output = Output.objects.select_related("picture__workspace", "workspace").get(job=job)
    assert read_all(output.picture) == factories.make_png()
    assert output.picture.status == ArtifactStatus.STORED.value
    assert output.seed == 100
    assert open_manifest(output)["seed"] == 100
    assert output.engine == factories.ENGINE


def test_committing_twice_makes_one_picture(
    attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile]
) -> None:
    commit = factories.make_commit(attempt, files)

    assert commit_output(agent.row, attempt.pk, commit)
    assert not commit_output(agent.row, attempt.pk, commit)

    assert Output.objects.count() == 1


def test_a_missing_file_is_refused_and_nothing_is_kept(
    attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile]
) -> None:
    thumbnail = Artifact.objects.get(pk=files[1].artifact_id)
    storage.delete(thumbnail.storage_key)

    with pytest.raises(ConflictError, match="conflict") as caught:
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))

    assert caught.value.message == "The store does not hold the thumbnail as reported."
    assert not Output.objects.exists()
    assert not Artifact.objects.filter(status=ArtifactStatus.STORED.value).exists()


@pytest.mark.parametrize("change", [{"size_bytes": 1}, {"sealed_bytes": 5}, {"sealed_bytes": -1}])
def test_a_file_of_another_size_is_refused(
    attempt: JobAttempt,
    agent: AgentHandle,
    files: tuple[StoredFile, StoredFile],
    change: dict[str, int],
) -> None:
    picture, thumbnail = files
    wrong = replace(picture, **change)  # type: ignore[arg-type]  # the changed fields are integers

    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, (wrong, thumbnail)))


def test_a_picture_without_its_thumbnail_is_refused(
    attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile]
) -> None:
    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files[:1]))


@pytest.mark.parametrize("index", [-1, 1, 99])
def test_a_picture_that_nobody_asked_for_is_refused(
    attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile], index: int
) -> None:
    commit = replace(factories.make_commit(attempt, files), index=index)
    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, commit)


def test_files_of_another_picture_cannot_be_committed_again(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, model_version: ModelVersion
) -> None:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=2)
    attempt = factories.make_attempt(job, agent.row)
    files = factories.make_stored_pair(agent.row, attempt)
    commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))

    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files, index=1))


def test_files_of_another_workspace_cannot_be_committed(
    attempt: JobAttempt, agent: AgentHandle, charlie_in_b: Actor, workspace_b: Workspace
) -> None:
    theirs = factories.make_attempt(factories.make_job(charlie_in_b, workspace_b), agent.row)
    files = factories.make_stored_pair(agent.row, theirs)

    with pytest.raises(ConflictError):
        commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))


def test_a_success_with_every_picture_ends_the_job(
    job: Job, attempt: JobAttempt, agent: AgentHandle, files: tuple[StoredFile, StoredFile]
) -> None:
    commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))

    assert finish_attempt(agent.row, attempt.pk, finish(attempt, "succeeded"))

    job.refresh_from_db()
    attempt.refresh_from_db()
    assert (job.status, job.error_code) == (JobStatus.SUCCEEDED.value, "")
    assert (attempt.status, attempt.timings) == ("succeeded", {"total": 1.5})


def test_a_success_without_all_pictures_is_none(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    finish_attempt(agent.row, attempt.pk, finish(attempt, "succeeded"))

    job.refresh_from_db()
    attempt.refresh_from_db()
    assert (attempt.status, attempt.error_code) == ("failed", "store.failed")
    assert (job.status, job.attempts_counted) == (JobStatus.QUEUED.value, 1)


def test_finishing_twice_is_refused(job: Job, attempt: JobAttempt, agent: AgentHandle) -> None:
    finish_attempt(agent.row, attempt.pk, finish(attempt, "failed"))
    with pytest.raises(ConflictError):
        finish_attempt(agent.row, attempt.pk, finish(attempt, "succeeded"))


@pytest.mark.parametrize(
    ("code", "status", "counted", "kept"),
    [
        ("gpu.out_of_memory", JobStatus.QUEUED, 1, ""),
        ("model.unreadable", JobStatus.FAILED, 1, "model.unreadable"),
        ("recipe.invalid", JobStatus.FAILED, 1, "recipe.invalid"),
        ("agent.lost", JobStatus.QUEUED, 0, ""),
        ("no.such_code", JobStatus.QUEUED, 1, ""),
    ],
)
def test_a_failure_is_tried_again_only_where_that_can_help(
    job: Job,
    attempt: JobAttempt,
    agent: AgentHandle,
    code: str,
    status: JobStatus,
    counted: int,
    kept: str,
) -> None:
    finish_attempt(agent.row, attempt.pk, finish(attempt, "failed", AttemptError(code=code)))

    job.refresh_from_db()
    assert (job.status, job.attempts_counted, job.error_code) == (status.value, counted, kept)


def test_a_canceled_attempt_of_a_canceled_job_ends_it(
    job: Job, attempt: JobAttempt, agent: AgentHandle, bob_in_a: Actor
) -> None:
    cancel_job(job=job, actor=bob_in_a)

    finish_attempt(agent.row, attempt.pk, finish(attempt, "canceled"))

    job.refresh_from_db()
    assert job.status == JobStatus.CANCELED.value


def test_a_picture_finished_before_the_cancel_arrived_stays_finished(
    job: Job,
    attempt: JobAttempt,
    agent: AgentHandle,
    files: tuple[StoredFile, StoredFile],
    bob_in_a: Actor,
) -> None:
    commit_output(agent.row, attempt.pk, factories.make_commit(attempt, files))
    cancel_job(job=job, actor=bob_in_a)

    finish_attempt(agent.row, attempt.pk, finish(attempt, "succeeded"))

    job.refresh_from_db()
    assert job.status == JobStatus.SUCCEEDED.value


def test_an_attempt_handed_back_is_tried_again(
    job: Job, attempt: JobAttempt, agent: AgentHandle
) -> None:
    finish_attempt(agent.row, attempt.pk, finish(attempt, "canceled"))

    job.refresh_from_db()
    assert job.status == JobStatus.QUEUED.value


@pytest.mark.parametrize("code", ["gpu.does_not_fit", "gpu.out_of_memory"])
def test_what_is_too_large_here_goes_to_a_larger_agent(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, code: str
) -> None:
    # Given: a job that the small agent has found too large for itself.
    small, large = factories.make_agent(memory_bytes=4 * GIB), factories.make_agent()
    job = factories.make_job(bob_in_a, workspace)
    attempt = factories.make_attempt(job, small.row)
    finish_attempt(small.row, attempt.pk, failed(attempt, code))
    # Then: only the larger one is asked.
    job.refresh_from_db()
    assert (job.status, job.memory_bytes) == ("queued", 4 * GIB + 1)
    Dispatcher().run_round()
    second = JobAttempt.objects.get(job=job, ended_at=None)
    assert second.agent_id == large.row.pk
    # And: where there is no larger one, what does not fit fails.
    finish_attempt(large.row, second.pk, failed(second, code))
    job.refresh_from_db()
    assert job.memory_bytes == 4 * GIB + 1
    assert job.status == ("failed" if code == "gpu.does_not_fit" else "queued")


def failed(attempt: JobAttempt, code: str) -> AttemptFinish:
    return AttemptFinish(fence=attempt.fence, status="failed", error=AttemptError(code=code))
