"""What agents report: started, a picture stored, finished. Fenced, and safe to hear twice."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import AttemptFinish, OutputCommit, StoredFile
from gpuagent.protocol.taxonomy import FileKind
from jobs.announcements import announce_job
from jobs.lifecycle import AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt, Output
from jobs.recipes import open_recipe, seal_manifest
from jobs.services.claiming import stale
from jobs.services.leasing import OPEN
from jobs.services.transitions import end_attempt, move_attempt
from studio.core.errors import ConflictError
from studio.core.ids import new_id
from workspaces.models import Artifact, ArtifactStatus
from workspaces.services.artifacts import StoredFacts, mark_stored, sealed_size_is_right


def _held(agent: Agent, attempt_id: str, fence: int) -> JobAttempt:
    """The attempt, locked, if the agent still holds it.

    Raises:
        ConflictError: it does not.
    """
    attempt = (
        JobAttempt.objects.select_for_update(of=("self",))
        .select_related("job__workspace")
        .filter(pk=attempt_id, agent=agent, fence=fence, status__in=OPEN)
        .first()
    )
    if attempt is None:
        raise stale()
    return attempt


@transaction.atomic
def note_started(agent: Agent, attempt_id: str, fence: int) -> bool:
    """Denoising has begun; False if the attempt is over or was known to have begun."""
    attempt = JobAttempt.objects.filter(pk=attempt_id, agent=agent, fence=fence).first()
    now = timezone.now()
    if attempt is None or not move_attempt(attempt, AttemptStatus.RUNNING, started_at=now):
        return False
    Job.objects.filter(pk=attempt.job_id, started_at=None).update(started_at=now)
    announce_job(attempt.job, JobStatus.RUNNING)
    return True


@transaction.atomic
def commit_output(agent: Agent, attempt_id: str, commit: OutputCommit) -> bool:
    """Take a stored picture into the gallery; False if it was there already.

    Raises:
        ConflictError: the attempt is not the agent's any more, or the files are not what it says.
    """
    attempt = _held(agent, attempt_id, commit.fence)
    job = attempt.job
    if Output.objects.filter(job=job, index=commit.index).exists():
        return False
    if not 0 <= commit.index < job.count:
        raise ConflictError(what=f"The job has {job.count} pictures; there is no {commit.index}.")
    files = {file.kind: _take(attempt, file) for file in commit.files}
    if set(files) != set(FileKind):
        raise ConflictError(what="A picture and its thumbnail must be committed together.")
    output_id = new_id("out")
    engine = commit.manifest.get("engine")
    Output.objects.create(
        id=output_id,
        organization_id=job.organization_id,
        workspace=job.workspace,
        job=job,
        attempt=attempt,
        project_id=job.project_id,
        index=commit.index,
        seed=open_recipe(job).seed_of(commit.index),
        picture=files[FileKind.PICTURE],
        thumbnail=files[FileKind.THUMBNAIL],
        sealed_manifest=seal_manifest(job.workspace, commit.manifest, output_id=output_id),
        engine=engine if isinstance(engine, dict) else {},
    )
    announce_job(job, JobStatus.RUNNING)
    return True


def _take(attempt: JobAttempt, file: StoredFile) -> Artifact:
    """Mark an expected artifact of this workspace as stored, after a look at the store."""
    artifact = Artifact.objects.filter(
        pk=file.artifact_id,
        workspace_id=attempt.job.workspace_id,
        kind=file.kind.value,
        status=ArtifactStatus.EXPECTED.value,
    ).first()
    facts = StoredFacts(
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        sealed_bytes=file.sealed_bytes,
        media_type=file.media_type,
        width=file.width,
        height=file.height,
    )
    # One that is stored already belongs to another picture: `mark_stored` refuses it.
    if (
        artifact is None
        or not sealed_size_is_right(artifact, facts)
        or not mark_stored(artifact, facts)
    ):
        raise ConflictError(what=f"The store does not hold the {file.kind.value} as reported.")
    return artifact


@transaction.atomic
def finish_attempt(agent: Agent, attempt_id: str, finish: AttemptFinish) -> bool:
    """End the attempt as its agent says; a success needs every picture to be stored.

    Raises:
        ConflictError: the attempt is not the agent's any more.
    """
    attempt = _held(agent, attempt_id, finish.fence)
    if finish.status == AttemptStatus.CANCELED.value:
        has_yielded = finish.error is not None and finish.error.code == FailureCode.YIELDED
        return end_attempt(
            attempt,
            AttemptStatus.CANCELED,
            failure=FailureCode.YIELDED if has_yielded else None,
            timings=finish.timings,
        )
    stored = Output.objects.filter(job=attempt.job).count()
    if finish.status == AttemptStatus.SUCCEEDED.value and stored == attempt.job.count:
        return end_attempt(attempt, AttemptStatus.SUCCEEDED, timings=finish.timings)
    error = finish.error
    failure = _known_code(error.code) if error else FailureCode.STORE_FAILED
    if failure is FailureCode.AGENT_LOST:  # it leaves and hands back: give it nothing more
        Agent.objects.filter(pk=agent.pk, boot_id=attempt.boot_id).update(is_draining=True)
    return end_attempt(
        attempt,
        AttemptStatus.FAILED,
        failure=failure,
        data=dict(error.data) if error else {},
        timings=finish.timings,
    )


def _known_code(code: str) -> FailureCode:
    try:
        return FailureCode(code)
    except ValueError:
        return FailureCode.INTERNAL
