"""Answering a claim: all an agent needs for one attempt, and nothing else."""

from __future__ import annotations

import base64

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone

from gpuagent.protocol.messages import (
    Assignment,
    InputRef,
    ModelFileRef,
    ModelRef,
    UploadTarget,
)
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind
from jobs.models import Agent, Job, JobAttempt, JobInput, Output
from jobs.recipes import open_recipe
from jobs.services.leasing import OPEN, lease_duration
from library.models import ModelVersion
from library.selectors import adapters_of
from studio.core import storage
from studio.core.errors import ConflictError
from workspaces.models import Artifact, ArtifactKind, Workspace
from workspaces.services.artifacts import expect_artifact
from workspaces.services.keys import data_key


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def stale() -> ConflictError:
    """The answer to everything that comes too late."""
    return ConflictError(what="This attempt is over or was given to somebody else. Drop it.")


@transaction.atomic
def claim_attempt(agent: Agent, attempt_id: str, *, fence: int, boot_id: str) -> Assignment:
    """Hand out the work of an attempt.

    The same process may ask again: its first answer can have been lost on the way. It takes care
    itself not to run an attempt twice.

    Raises:
        ConflictError: the attempt is not this agent's to run (any more).
    """
    now = timezone.now()
    claimed = JobAttempt.objects.filter(
        pk=attempt_id,
        agent=agent,
        fence=fence,
        boot_id=boot_id,
        status__in=OPEN,
    ).update(claimed_at=Coalesce("claimed_at", now), lease_expires_at=now + lease_duration())
    if not claimed:
        raise stale()
    attempt = JobAttempt.objects.select_related("job__workspace", "job__model_version__asset").get(
        pk=attempt_id
    )
    return _assignment(agent, attempt)


def _assignment(agent: Agent, attempt: JobAttempt) -> Assignment:
    job = attempt.job
    workspace = job.workspace
    done = tuple(Output.objects.filter(job=job).values_list("index", flat=True).order_by("index"))
    recipe = open_recipe(job)
    laid = adapters_of(job.organization_id, recipe.adapters) if recipe.adapters else {}
    todo = [index for index in range(job.count) if index not in done]
    return Assignment(
        attempt_id=attempt.pk,
        job_id=job.pk,
        organization=job.organization_id,
        fence=attempt.fence,
        recipe=recipe.to_wire(),
        model=model_ref(agent, job.model_version),
        targets=tuple(
            _target(agent, workspace, index, kind) for index in todo for kind in FileKind
        ),
        preview_key=_text(data_key(workspace, attempt.wrapped_preview_key)),
        inputs=_inputs(agent, job, workspace, attempt),
        adapters=tuple(model_ref(agent, laid[each]) for each in recipe.adapters if each in laid),
        done=done,
        lease_seconds=settings.LEASE_SECONDS,
        may_batch=bool(job.batch_key),
    )


def _target(agent: Agent, workspace: Workspace, index: int, kind: FileKind) -> UploadTarget:
    artifact, key = expect_artifact(workspace, ArtifactKind(kind.value))
    return UploadTarget(
        index=index,
        kind=kind,
        artifact_id=artifact.pk,
        url=_put_url(agent, artifact),
        data_key=_text(key),
    )


def _put_url(agent: Agent, artifact: Artifact) -> str:
    """Straight into the store where the agent can reach it, else through the web side."""
    presigned = storage.upload_url(artifact.storage_key)
    if presigned is not None:
        return presigned
    if agent.is_local:
        return storage.folder_url(artifact.storage_key)
    return settings.STUDIO_URL + reverse("agent-store", args=[artifact.pk])


def _get_url(agent: Agent, key: str, fallback: str) -> str:
    presigned = storage.download_url(key)
    if presigned is not None:
        return presigned
    return storage.folder_url(key) if agent.is_local else settings.STUDIO_URL + fallback


def _inputs(
    agent: Agent, job: Job, workspace: Workspace, attempt: JobAttempt
) -> tuple[InputRef, ...]:
    given = JobInput.objects.filter(job=job).select_related("artifact").order_by("role")
    # One picture may be there in two roles; it is fetched once.
    artifacts = {each.artifact_id: each.artifact for each in given}
    return tuple(
        InputRef(
            sha256=artifact.sha256,
            artifact_id=artifact.pk,
            url=_get_url(
                agent,
                artifact.storage_key,
                reverse("agent-input", args=[attempt.pk, artifact.pk]),
            ),
            data_key=_text(data_key(workspace, artifact.wrapped_key)),
        )
        for artifact in artifacts.values()
    )


def model_ref(agent: Agent, version: ModelVersion) -> ModelRef:
    """A model version as agents know it."""
    files = version.files.order_by("path")
    return ModelRef(
        version_id=version.pk,
        name=version.asset.name,
        digest=version.digest,
        architecture=Architecture(version.architecture),
        kind=AssetKind(version.asset.kind),
        files=tuple(
            ModelFileRef(
                path=file.path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                url=_get_url(agent, file.storage_key, reverse("agent-model", args=[file.sha256])),
            )
            for file in files
        ),
        trigger_words=tuple(version.trigger_words),
    )
