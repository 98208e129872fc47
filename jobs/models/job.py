"""Job: one request, immutable but for its status."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from accounts.models import Organization
from jobs.lifecycle import JobStatus
from library.models import ModelVersion
from studio.core.ids import IdField
from studio.core.keys import Wrapping
from studio.core.scoping import ScopedManager
from workspaces.models import Project, Workspace


class Job(models.Model):
    """What somebody asked for. The recipe (prompts and all) is sealed under the workspace key.

    `fence` grows with every attempt; `attempts_counted` only with those held against the job.
    `position` is the place in its owner's line, the least first: see `jobs.services.ordering`.
    `paused_seconds` is how long it was paused before the present pause. `batch_key` is what jobs
    have in common that may be made in one batch; empty: it is made alone.
    """

    id = IdField(prefix="job")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    status = models.CharField(
        max_length=16,
        choices=[(s.value, s.value) for s in JobStatus],
        default=JobStatus.QUEUED.value,
    )
    tier = models.CharField(max_length=16, default="fast")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    sealed_recipe = models.BinaryField()
    project = models.ForeignKey(Project, null=True, on_delete=models.SET_NULL, related_name="jobs")
    # The words of the prompt under the workspace's search key, cut to 63 bits; for search.
    search_terms = ArrayField(models.BigIntegerField(), default=list)
    rerun_of = models.ForeignKey(
        "jobs.Output", null=True, on_delete=models.SET_NULL, related_name="reruns"
    )
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001  # null: no key, and several such rows
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    count = models.PositiveIntegerField()
    cost_seconds = models.FloatField()
    memory_bytes = models.BigIntegerField()
    batch_key = models.CharField(max_length=16, blank=True, default="")
    fence = models.PositiveIntegerField(default=0)
    attempts_counted = models.PositiveIntegerField(default=0)
    position = models.BigIntegerField(default=0)
    paused_at = models.DateTimeField(null=True)
    paused_seconds = models.FloatField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_data = models.JSONField(default=dict)
    submitted_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_recipe": Wrapping.RECORD}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "created_by", "idempotency_key"],
                name="job_idempotency_once",
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"]),
            models.Index(
                fields=["submitted_at"],
                condition=models.Q(status="queued"),
                name="job_queued",
            ),
            models.Index(
                fields=["workspace"],
                condition=models.Q(status__in=["queued", "running"]),
                name="job_open",
            ),
            GinIndex(fields=["search_terms"], name="job_search"),
        ]
