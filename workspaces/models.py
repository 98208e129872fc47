"""Workspaces, who is let into them, projects and share links, and artifacts: sealed bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import Membership, Organization, Team, User
from accounts.roles import WorkspaceRole
from studio.core.ids import IdField
from studio.core.keys import Wrapping, new_wrapped_key
from studio.core.scoping import ScopedManager


class Workspace(models.Model):
    """An access-controlled room in an organization; everything in it is sealed under its key.

    `is_restricted` leaves out whoever has no grant (owners and admins aside). A deleted one is
    gone for everybody at once; until `destroy_at` it can be brought back, then its key is
    destroyed and with it all that lies under it.
    """

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
    # Makes the words of prompts into what can be searched for; moves with each new key.
    wrapped_search_key = models.BinaryField(null=True)
    is_restricted = models.BooleanField(default=False)
    deleted_at = models.DateTimeField(null=True)
    destroy_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    under_master_key: ClassVar[tuple[str, ...]] = ("wrapped_key", "retiring_key")
    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"wrapped_search_key": Wrapping.KEY}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()


class WorkspaceGrant(models.Model):
    """Lets one member, or all of a team, into a workspace, with a role there."""

    id = IdField(prefix="grt")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="grants")
    membership = models.ForeignKey(
        Membership, null=True, on_delete=models.CASCADE, related_name="grants"
    )
    team = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=16, choices=[(r.value, r.value) for r in WorkspaceRole])
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(membership=None) ^ models.Q(team=None), name="grant_to_one"
            ),
            models.UniqueConstraint(fields=["workspace", "membership"], name="grant_member_once"),
            models.UniqueConstraint(fields=["workspace", "team"], name="grant_team_once"),
        ]


class Project(models.Model):
    """Pictures of one undertaking within a workspace. Its name is often a client's secret."""

    id = IdField(prefix="prj")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="projects")
    sealed_name = models.BinaryField()
    color = models.CharField(max_length=16, default="gray")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_name": Wrapping.RECORD}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()


class ShareLink(models.Model):
    """An address at which anybody who has it sees a project, or the pictures of `output_ids`.

    View only. Only the hash of the address is stored. It ends at `expires_at` or when revoked;
    `opens` counts visits, not pictures. `sealed_title` holds the text of the watermark, too.
    """

    id = IdField(prefix="shr")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="share_links")
    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="+")
    output_ids = ArrayField(models.CharField(max_length=30), default=list)
    sealed_title = models.BinaryField()
    token_hash = models.CharField(max_length=64, unique=True)
    password_hash = models.CharField(max_length=128, blank=True)
    has_watermark = models.BooleanField(default=False)
    shows_metadata = models.BooleanField(default=False)
    opens = models.PositiveIntegerField(default=0)
    last_opened_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_title": Wrapping.RECORD}
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
