"""ModelAsset, ModelVersion, ModelFile: what pictures are made with; ModelUpload: what comes in."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from typing_extensions import override

from accounts.models import Organization
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from studio.core.ids import IdField
from studio.core.scoping import ScopedManager


class SharedManager(ScopedManager["ModelAsset"]):
    """An organization sees its own assets and the public ones (organization null)."""

    @override
    def visible_to(self, organization_id: str) -> models.Q:
        return models.Q(organization_id=organization_id) | models.Q(organization=None)


class ModelAsset(models.Model):
    """A named entry of the library; without an organization it is public on this installation.

    A removed one cannot be chosen any more; pictures that were made with it can be made again.

    `presets` are as `library.presets.Preset` says; the room's form starts with the first.
    """

    id = IdField(prefix="mdl")
    organization = models.ForeignKey(
        Organization, null=True, on_delete=models.CASCADE, related_name="+"
    )
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=24, choices=[(k.value, k.value) for k in AssetKind])
    licence = models.CharField(max_length=120, blank=True)
    description = models.TextField(blank=True)
    example_prompts = models.JSONField(default=list)
    presets = models.JSONField(default=list)
    removed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[SharedManager] = SharedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"], name="asset_name_once", nulls_distinct=False
            )
        ]


class SharedVersionManager(ScopedManager["ModelVersion"]):
    """Follows the asset."""

    @override
    def visible_to(self, organization_id: str) -> models.Q:
        return models.Q(asset__organization_id=organization_id) | models.Q(asset__organization=None)


class ModelVersion(models.Model):
    """An immutable release: `digest` is over its files' sorted paths and hashes.

    `weights_bytes` is the size of its safetensors files; sides in pixels, 0 of an adapter.
    `trigger_words`: of a LoRA what its maker says of it, of an embedding the one that calls it.
    `source_sha256` is of the single file it was made from, as its maker publishes it, or empty.
    `memory` is what agents measured, by class of their GPU: `library.memory.Measured`.
    """

    id = IdField(prefix="ver")
    asset = models.ForeignKey(ModelAsset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    architecture = models.CharField(
        max_length=24, choices=[(a.value, a.value) for a in Architecture]
    )
    default_width = models.PositiveIntegerField()
    default_height = models.PositiveIntegerField()
    weights_bytes = models.BigIntegerField()
    trigger_words = models.JSONField(default=list)
    source_sha256 = models.CharField(max_length=64, blank=True)
    memory = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[SharedVersionManager] = SharedVersionManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["asset", "number"], name="version_number_once"),
            models.UniqueConstraint(fields=["asset", "digest"], name="version_digest_once"),
        ]


class SharedFileManager(ScopedManager["ModelFile"]):
    """Follows the asset."""

    @override
    def visible_to(self, organization_id: str) -> models.Q:
        asset = "version__asset__organization"
        return models.Q(**{f"{asset}_id": organization_id}) | models.Q(**{asset: None})


class ModelFile(models.Model):
    """One file of a version; its bytes lie once per content in the store."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()

    objects: ClassVar[SharedFileManager] = SharedFileManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "path"], name="file_path_once")]
        indexes = [models.Index(fields=["sha256"])]

    @property
    def storage_key(self) -> str:
        """Content-addressed place in the store."""
        return f"models/{self.sha256[:2]}/{self.sha256}"

    @property
    def header_key(self) -> str:
        """Where names and shapes of its tensors are, so that nobody reads gigabytes for them."""
        return f"{self.storage_key}.header"


class UploadState(StrEnum):
    """Where a file that is being added is. `failed` keeps the bytes until it expires."""

    RECEIVING = "receiving"
    FETCHING = "fetching"
    CHECKING = "checking"
    DONE = "done"
    FAILED = "failed"


OPEN_STATES = (UploadState.RECEIVING, UploadState.FETCHING, UploadState.CHECKING)


class ModelUpload(models.Model):
    """A file on its way into the library: in the store in pieces until it is registered.

    `fingerprint` is the browser's name for the file: the same again goes on where it was.
    `sealed_address` is where it is fetched from, under the organization's key, until it is here.
    `claimed_at` is when a worker last said that it is at it.
    """

    id = IdField(prefix="mup")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    state = models.CharField(max_length=12, choices=[(s.value, s.value) for s in UploadState])
    fingerprint = models.CharField(max_length=64, blank=True)
    file_name = models.CharField(max_length=200)
    size_bytes = models.BigIntegerField(default=0)
    received_bytes = models.BigIntegerField(default=0)
    checked_bytes = models.BigIntegerField(default=0)
    details = models.JSONField(default=dict)
    sealed_address = models.BinaryField(null=True)
    problem = models.JSONField(default=dict)
    version = models.ForeignKey(
        ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    claimed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    under_organization_key: ClassVar[tuple[str, ...]] = ("sealed_address",)
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="upload_newest"),
            models.Index(fields=["expires_at"], name="upload_expiry"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "created_by", "fingerprint"],
                condition=models.Q(state="receiving") & ~models.Q(fingerprint=""),
                name="upload_open_once",
            )
        ]
