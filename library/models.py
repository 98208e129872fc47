"""ModelAsset, ModelVersion, ModelFile: what pictures are made with."""

from __future__ import annotations

from typing import ClassVar

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
