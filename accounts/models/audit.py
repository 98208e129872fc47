"""The audit log."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from accounts.models.people import Organization
from studio.core.ids import IdField
from studio.core.scoping import ScopedManager


class AuditEvent(models.Model):
    """Who did what, when, from where, on which object: ids and codes, never content.

    Append-only: the database itself refuses to change or delete a row. `details` holds codes and
    numbers, such as the role before and after.
    """

    id = IdField(prefix="aud")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    actor_id = models.CharField(max_length=30)
    token_id = models.CharField(max_length=30, blank=True)
    action = models.CharField(max_length=64)
    object_id = models.CharField(max_length=30)
    details = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"]),
            models.Index(fields=["organization", "-id"], name="audit_newest"),
            models.Index(fields=["organization", "object_id"], name="audit_object"),
        ]
