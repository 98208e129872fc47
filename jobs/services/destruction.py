"""Destroying what deleted workspaces held, once nobody can bring them back any more.

First the key goes, in one transaction: from then on nothing in the workspace opens. Then, some rows
at a time, the stored bytes and after them the rows that name them. It can be broken off anywhere
and goes on with the next sweep. The audit log keeps its rows.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import InterfaceError, OperationalError, models, transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.services.audit import record_system
from jobs.models import Grid, Job, JobAttempt, Output, Wildcard
from jobs.services.deletion import stop_jobs
from studio.core import storage
from workspaces.models import Artifact, Project, ShareLink, Workspace, WorkspaceGrant

BATCH = 200
# A sweep ends before the queue takes it for stuck; the next one goes on.
SECONDS = 240.0
logger = logging.getLogger(__name__)

# Each model and how it names its workspace. In this order no row goes before one that needs it.
OWNED: tuple[tuple[type[models.Model], str], ...] = (
    (Output, "workspace"),
    (JobAttempt, "job__workspace"),
    (Job, "workspace"),
    (Artifact, "workspace"),
    (Grid, "workspace"),
    (Wildcard, "workspace"),
    (ShareLink, "workspace"),
    (Project, "workspace"),
    (WorkspaceGrant, "workspace"),
)


def destroy_due(*, seconds: float = SECONDS) -> list[str]:
    """Destroy the workspaces whose time is over, for so long; which are gone entirely."""
    until = time.monotonic() + seconds
    due = Workspace.objects.filter(deleted_at__isnull=False, destroy_at__lte=timezone.now())
    gone = []
    for workspace_id in due.order_by("destroy_at").values_list("pk", flat=True):
        try:
            if _destroy(workspace_id, until):
                gone.append(workspace_id)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # the store is away, say: the next sweep goes on
            logger.error("%s is not destroyed yet (%s)", workspace_id, type(error).__name__)
    return gone


def _destroy(workspace_id: str, until: float) -> bool:
    workspace = _destroy_key(workspace_id)
    if workspace is None:
        return False
    stop_jobs(workspace)
    for model, owner in OWNED:
        while _remove_batch(model, {owner: workspace}):
            if time.monotonic() > until:
                return False
    storage.delete_folder(f"{workspace.organization_id}/{workspace.pk}")
    return _finish(workspace)


@transaction.atomic
def _destroy_key(workspace_id: str) -> Workspace | None:
    """Overwrite the keys, unless somebody brought the workspace back this very moment."""
    workspace = (
        Workspace.objects.select_for_update(of=("self",))
        .filter(pk=workspace_id, deleted_at__isnull=False, destroy_at__lte=timezone.now())
        .first()
    )
    if workspace is None or not workspace.wrapped_key:
        return workspace
    record_system(
        workspace.organization_id, "workspace.key_destroyed", workspace.pk, _counts(workspace)
    )
    workspace.wrapped_key = b""
    workspace.retiring_key = workspace.wrapped_search_key = None
    workspace.save(update_fields=["wrapped_key", "retiring_key", "wrapped_search_key"])
    return workspace


def _counts(workspace: Workspace) -> dict[str, object]:
    stored = Artifact.objects.filter(workspace=workspace)
    return {
        "pictures": Output.objects.filter(workspace=workspace).count(),
        "jobs": Job.objects.filter(workspace=workspace).count(),
        "projects": Project.objects.filter(workspace=workspace).count(),
        "files": stored.count(),
        "bytes": stored.aggregate(total=Sum("sealed_bytes"))["total"] or 0,
    }


def _remove_batch(model: type[models.Model], owner: dict[str, Workspace]) -> int:
    """Some rows of the workspace; bytes before the rows without which nobody would find them."""
    manager: Any = model._default_manager
    rows = list(manager.filter(**owner).order_by("pk")[:BATCH])
    if model is Artifact:
        for artifact in rows:
            storage.delete(artifact.storage_key)
    with transaction.atomic():
        manager.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


@transaction.atomic
def _finish(workspace: Workspace) -> bool:
    if not Workspace.objects.filter(pk=workspace.pk).delete()[0]:
        return False  # another sweep was quicker
    counted = AuditEvent.objects.filter(object_id=workspace.pk, action="workspace.key_destroyed")
    details = counted.order_by("-id").values_list("details", flat=True).first()
    record_system(workspace.organization_id, "workspace.destroyed", workspace.pk, details)
    return True
