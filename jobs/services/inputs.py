"""Starting pictures: gone when no job has wanted them for long."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, ProtectedError, QuerySet
from django.utils import timezone

from accounts.services.audit import record_system
from jobs.models import Job
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus
from workspaces.services.artifacts import remove_artifacts


def sweep_inputs(*, limit: int = 200) -> int:
    """Remove starting pictures that were added long ago and that no job uses; how many."""
    before = timezone.now() - timedelta(days=settings.UNUSED_INPUT_DAYS)
    used = Job.objects.filter(input_artifact=OuterRef("pk"))
    unused = _stored_before(before).filter(~Exists(used)).order_by("created_at")
    ids = list(unused.values_list("pk", flat=True)[:limit])
    return sum(_sweep_one(artifact_id, before) for artifact_id in ids)


def _stored_before(before: datetime) -> QuerySet[Artifact]:
    return Artifact.objects.filter(
        kind=ArtifactKind.INPUT.value,
        status=ArtifactStatus.STORED.value,
        created_at__lt=before,
    )


@transaction.atomic
def _sweep_one(artifact_id: str, before: datetime) -> int:
    """First the lock, then the question: a job that took the picture meanwhile is seen.

    `submit_job` locks the same row before it makes the job, so it either comes first, and the job
    is found here, or waits and finds the picture gone.
    """
    unlocked = _stored_before(before).select_for_update(skip_locked=True)
    artifact = unlocked.filter(pk=artifact_id).first()
    if artifact is None or Job.objects.filter(input_artifact=artifact).exists():
        return 0
    try:
        removed = remove_artifacts([artifact])
    except ProtectedError:  # no job, but something else refers to it
        return 0
    if removed:
        where = {"workspace": artifact.workspace_id}
        record_system(artifact.organization_id, "upload.removed", artifact_id, where)
    return removed
