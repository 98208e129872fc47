"""How the fleet is run: shares, warm models, tokens to join, what happened, what runs took.

Of the installation, but for `OrganizationShare` and `RunRecord`. No row holds content.
"""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models

from accounts.models import Organization
from jobs.models.agent import Agent
from library.models import ModelVersion
from studio.core.ids import IdField
from studio.core.scoping import ScopedManager


class FleetPolicy(models.Model):
    """What operators have set; what is missing or null is the scheduler's default. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    reserved_shares = models.JSONField(default=dict)
    floor_agents = models.PositiveIntegerField(null=True)
    floor_seconds = models.FloatField(null=True)
    window_seconds = models.FloatField(null=True)
    updated_at = models.DateTimeField(auto_now=True)


class OrganizationShare(models.Model):
    """An organization's part of the fleet; null: no limit. Limits count jobs on agents at once."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="+")
    weight = models.FloatField(default=1.0)
    jobs_at_once = models.PositiveIntegerField(null=True)
    jobs_at_once_per_member = models.PositiveIntegerField(null=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()


class ModelPin(models.Model):
    """Keep a model warm on this many agents (those with the label, if one is given)."""

    model_version = models.OneToOneField(
        ModelVersion, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    agents = models.PositiveIntegerField(default=1)
    label = models.CharField(max_length=40, blank=True)


class JoinToken(models.Model):
    """Lets machines become agents until it expires, is used up or revoked. Its hash is kept."""

    id = IdField(prefix="jot")
    token_hash = models.CharField(max_length=64, unique=True)
    labels = models.JSONField(default=list)
    uses_left = models.PositiveIntegerField(default=1)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)


class FleetEvent(models.Model):
    """Something that happened to an agent or the fleet: a code and data without content."""

    id = IdField(prefix="fev")
    agent = models.ForeignKey(Agent, null=True, on_delete=models.CASCADE, related_name="events")
    code = models.CharField(max_length=64)
    data = models.JSONField(default=dict)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["-at"], name="fleet_event_newest"),
            models.Index(fields=["agent", "-at"], name="fleet_event_of_agent"),
        ]


class RunRecord(models.Model):
    """What one ended attempt took, in seconds and bytes. Outlives its job; holds no content.

    `wait_seconds` is from the request to the start, in the job's first attempt only.
    """

    id = IdField(prefix="run")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    attempt_id = models.CharField(max_length=30, unique=True)
    agent = models.ForeignKey(Agent, null=True, on_delete=models.SET_NULL, related_name="+")
    gpu_class = models.CharField(max_length=80)
    job_type = models.CharField(max_length=32)
    tier = models.CharField(max_length=16)
    model_digest = models.CharField(max_length=64)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    steps = models.PositiveIntegerField()
    pictures = models.PositiveIntegerField()
    status = models.CharField(max_length=16)
    error_code = models.CharField(max_length=64, blank=True)
    wait_seconds = models.FloatField(null=True)
    load_seconds = models.FloatField(default=0)
    load_source = models.CharField(max_length=16, blank=True)
    run_seconds = models.FloatField(default=0)
    estimated_seconds = models.FloatField(default=0)
    peak_memory_bytes = models.BigIntegerField(null=True)
    ended_at = models.DateTimeField()

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        indexes = [
            models.Index(fields=["-ended_at"], name="run_newest"),
            models.Index(fields=["tier", "-ended_at"], name="run_of_tier"),
            models.Index(fields=["organization", "-ended_at"], name="run_of_organization"),
        ]


class CostEstimate(models.Model):
    """What finished runs teach: mean seconds per unit of work, by GPU class and kind of work.

    `kind` names what is measured (`step` seconds per megapixel, `load` seconds per model).
    """

    gpu_class = models.CharField(max_length=80)
    kind = models.CharField(max_length=16)
    key = models.CharField(max_length=120)
    mean_seconds = models.FloatField()
    deviation_seconds = models.FloatField(default=0)
    weight = models.FloatField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["gpu_class", "kind", "key"], name="cost_estimate_once")
        ]


class FleetSnapshot(models.Model):
    """What the dispatcher last saw, for pages and metrics: numbers by tier and agent. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now=True)
