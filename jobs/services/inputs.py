"""Pictures that jobs start from: found, held, and gone when no job has wanted them for long."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, ProtectedError, QuerySet
from django.utils import timezone

from accounts.services.audit import record_system
from gpuagent.protocol.recipe import FieldProblem, Recipe
from jobs.models import InputRole, Job, JobInput
from studio.core.errors import InvalidInputError
from workspaces.access import find_input, hold_input
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace
from workspaces.services.artifacts import remove_artifacts

_NAMES = {InputRole.IMAGE: "starting picture", InputRole.MASK: "mask"}
# Roles of what a list of the recipe names end with its place there; the problem is the list's.
_LISTS = {"control": "controls", "reference": "references"}
Inputs = dict[InputRole, Artifact]


def find_inputs(workspace: Workspace, recipe: Recipe) -> Inputs:
    """The stored pictures that the recipe names.

    Raises:
        InvalidInputError: one is not in the workspace.
    """
    named = {InputRole(name): sha256 for name, sha256 in recipe.inputs.items()}
    found = {role: find_input(workspace, sha256) for role, sha256 in named.items()}
    missing = [role for role, artifact in found.items() if artifact is None]
    if missing:
        raise InvalidInputError([_unknown(role) for role in missing])
    return {role: artifact for role, artifact in found.items() if artifact is not None}


def pixels_of(inputs: Inputs) -> int:
    """How large the largest of them is; 0 without any. A mask is made as large as its picture."""
    opened = [artifact for role, artifact in inputs.items() if role is not InputRole.MASK]
    return max((artifact.width * artifact.height for artifact in opened), default=0)


def hold_inputs(inputs: Inputs) -> None:
    """Keep them until the transaction ends; `attach_inputs` keeps them for as long as the job.

    Raises:
        InvalidInputError: one was swept since it was found.
    """
    # In one order for all, so that two jobs with the same pictures do not wait for each other.
    for role, artifact in sorted(inputs.items(), key=lambda item: item[1].pk):
        if not hold_input(artifact):
            raise InvalidInputError([_unknown(role)])


def attach_inputs(job: Job, inputs: Inputs) -> None:
    """Note what the job starts from."""
    JobInput.objects.bulk_create(
        JobInput(organization_id=job.organization_id, job=job, artifact=artifact, role=role.value)
        for role, artifact in inputs.items()
    )


def _unknown(role: InputRole) -> FieldProblem:
    kind, _, number = role.value.partition("_")
    if number:
        message = (
            f"{kind.capitalize()} {number}: its picture is not in this workspace; add it again."
        )
        return FieldProblem(field=_LISTS[kind], code="unknown_image", message=message)
    message = f"That {_NAMES[role]} is not in this workspace; add it again."
    return FieldProblem(field=role.value, code="unknown_image", message=message)


def sweep_inputs(*, limit: int = 200) -> int:
    """Remove starting pictures that were added long ago and that no job uses; how many."""
    before = timezone.now() - timedelta(days=settings.UNUSED_INPUT_DAYS)
    used = JobInput.objects.filter(artifact=OuterRef("pk"))
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
    if artifact is None or JobInput.objects.filter(artifact=artifact).exists():
        return 0
    try:
        removed = remove_artifacts([artifact])
    except ProtectedError:  # no job, but something else refers to it
        return 0
    if removed:
        where = {"workspace": artifact.workspace_id}
        record_system(artifact.organization_id, "upload.removed", artifact_id, where)
    return removed
