"""JobInput: a picture that a job starts from."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from accounts.models import Organization
from jobs.models.job import Job
from studio.core.scoping import ScopedManager
from workspaces.models import Artifact


class InputRole(models.TextChoices):
    """What a picture is to its job; the name of the recipe's setting that holds its hash."""

    IMAGE = "image"
    MASK = "mask"
    CONTROL_1 = "control_1"
    CONTROL_2 = "control_2"
    CONTROL_3 = "control_3"
    REFERENCE_1 = "reference_1"
    REFERENCE_2 = "reference_2"
    REFERENCE_3 = "reference_3"


class JobInput(models.Model):
    """One stored picture in one role. What a job names here stays in the store as long as it."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="inputs")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=16, choices=InputRole.choices)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "role"], name="job_input_once")]
