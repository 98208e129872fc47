"""JobAttempt: one try on one agent, under a lease."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from accounts.models import Organization
from jobs.lifecycle import AttemptStatus
from jobs.models.agent import Agent
from jobs.models.job import Job
from studio.core.ids import IdField
from studio.core.keys import Wrapping
from studio.core.scoping import ScopedManager


class JobAttempt(models.Model):
    """One try. Whoever holds `fence` while the lease lasts may write; nobody else.

    `preview_key` is wrapped under the workspace key. Timings and charges in seconds.
    """

    id = IdField(prefix="att")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="attempts")
    fence = models.PositiveIntegerField()
    boot_id = models.CharField(max_length=64)
    status = models.CharField(
        max_length=16,
        choices=[(s.value, s.value) for s in AttemptStatus],
        default=AttemptStatus.LEASED.value,
    )
    wrapped_preview_key = models.BinaryField()
    charged_seconds = models.FloatField(default=0)
    placement = models.JSONField(default=dict)
    leased_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_data = models.JSONField(default=dict)
    timings = models.JSONField(default=dict)
    settled_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"wrapped_preview_key": Wrapping.KEY}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "fence"], name="attempt_fence_once"),
            models.UniqueConstraint(
                fields=["job"],
                condition=models.Q(status__in=["leased", "running"]),
                name="attempt_one_open",
            ),
        ]
        indexes = [
            models.Index(
                fields=["agent"],
                condition=models.Q(status__in=["leased", "running"]),
                name="attempt_open",
            ),
            models.Index(
                fields=["ended_at"],
                condition=models.Q(settled_at=None, ended_at__isnull=False),
                name="attempt_unsettled",
            ),
        ]
