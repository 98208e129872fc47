"""Output: a made picture and where it came from."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from accounts.models import Organization
from jobs.models.attempt import JobAttempt
from jobs.models.job import Job
from studio.core.ids import IdField
from studio.core.keys import Wrapping
from studio.core.scoping import ScopedManager
from workspaces.models import Artifact, Project, Workspace


class Output(models.Model):
    """Picture `index` of a job. The manifest holds the prompt, so it is sealed; the engine is not.

    `trashed_at` set means it lies in the trash, from which it can be brought back.
    """

    id = IdField(prefix="out")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="outputs")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="outputs")
    attempt = models.ForeignKey(JobAttempt, on_delete=models.PROTECT, related_name="outputs")
    project = models.ForeignKey(
        Project, null=True, on_delete=models.SET_NULL, related_name="outputs"
    )
    index = models.PositiveIntegerField()
    seed = models.BigIntegerField()
    picture = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    thumbnail = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    sealed_manifest = models.BinaryField()
    engine = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    trashed_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_manifest": Wrapping.RECORD}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "index"], name="output_once")]
        indexes = [
            models.Index(
                fields=["workspace", "-id"],
                condition=models.Q(trashed_at=None),
                name="output_gallery",
            ),
            models.Index(
                fields=["project", "-id"],
                condition=models.Q(trashed_at=None),
                name="output_project",
            ),
            models.Index(
                fields=["workspace", "-trashed_at"],
                condition=models.Q(trashed_at__isnull=False),
                name="output_trash",
            ),
        ]
