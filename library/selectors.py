"""Reads of the library."""

from __future__ import annotations

from gpuagent.protocol.taxonomy import AssetKind
from library.models import ModelVersion


def usable_versions(kind: AssetKind = AssetKind.CHECKPOINT) -> list[ModelVersion]:
    """The newest version of every model of a kind that the scope sees, by name."""
    versions = (
        ModelVersion.objects.select_related("asset")
        .filter(asset__kind=kind.value)
        .order_by("asset_id", "-number")
    )
    newest = list(versions.distinct("asset_id"))
    return sorted(newest, key=lambda version: (version.asset.name.lower(), version.pk))


def find_version(digest: str) -> ModelVersion | None:
    """A version the scope sees, by digest; old versions stay usable, so manifests never break."""
    return (
        ModelVersion.objects.select_related("asset")
        .filter(digest=digest)
        .order_by("asset__organization", "id")
        .first()
    )
