"""Workspace, and Artifact: bytes that lie sealed in the store."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from django.db import models

from accounts.models import Organization
from studio.core.ids import IdField
from studio.core.keys import Wrapping, new_wrapped_key
from studio.core.scoping import ScopedManager


class Workspace(models.Model):
    """An access-controlled room in an organization; everything in it is sealed under its key."""

    id = IdField(prefix="wsp")
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="workspaces"
    )
    name = models.CharField(max_length=120)
    color = models.CharField(max_length=16, default="violet")
    wrapped_key = models.BinaryField(default=new_wrapped_key)
    # The key before, while a rotation moves everything over to the one above.
    retiring_key = models.BinaryField(null=True)
    rotated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()


class ArtifactStatus(StrEnum):
    """`expected`: nobody vouches for bytes, yet or any more; `stored`: they are there."""

    EXPECTED = "expected"
    STORED = "stored"


class ArtifactKind(StrEnum):
    """What the bytes are; part of the sealing context."""

    PICTURE = "picture"
    THUMBNAIL = "thumbnail"
    INPUT = "input"


class Artifact(models.Model):
    """Stored bytes: what they are and the wrapped data key that opens them.

    Sizes in bytes; `sha256` is of the plaintext. An expected artifact, whose writer never came
    back or which was given up, is swept after `expires_at`. `created_at` of a starting picture is
    when somebody last added it.
    """

    id = IdField(prefix="art")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in ArtifactKind])
    status = models.CharField(
        max_length=16,
        choices=[(s.value, s.value) for s in ArtifactStatus],
        default=ArtifactStatus.EXPECTED.value,
    )
    wrapped_key = models.BinaryField()
    sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    sealed_bytes = models.BigIntegerField(default=0)
    media_type = models.CharField(max_length=64, blank=True)
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"wrapped_key": Wrapping.KEY}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "sha256"]),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(status="expected"),
                name="artifact_expected",
            ),
            models.Index(
                fields=["created_at"],
                condition=models.Q(kind="input", status="stored"),
                name="artifact_inputs",
            ),
        ]

    @property
    def storage_key(self) -> str:
        """Where the sealed bytes lie in the store."""
        return f"{self.organization_id}/{self.workspace_id}/{self.pk}.sealed"
