"""Reads of the library."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Q, QuerySet

from gpuagent.protocol.taxonomy import (
    ADAPTERS,
    BESIDE_MODELS,
    MAPPED,
    MODELS,
    Architecture,
    AssetKind,
    ControlKind,
)
from library.models import ModelVersion


def usable_versions(kind: AssetKind = AssetKind.CHECKPOINT) -> list[ModelVersion]:
    """The newest version of every model of a kind that the scope sees, by name."""
    return _newest(_offered({kind}))


def first_version(kind: AssetKind) -> ModelVersion | None:
    """What is taken where nobody chose: the first by name, of upscalers the quickest."""
    versions = usable_versions(kind)
    is_upscaler = kind is AssetKind.UPSCALER
    return next(iter(quickest_first(versions) if is_upscaler else versions), None)


def quickest_first(upscalers: list[ModelVersion]) -> list[ModelVersion]:
    """An upscaler applies all of its weights at every pixel."""
    return sorted(upscalers, key=lambda version: version.weights_bytes)


def usable_adapters() -> list[ModelVersion]:
    """The newest version of every LoRA and embedding that the scope sees, by name."""
    return _newest(_offered(ADAPTERS).prefetch_related("files"))


def usable_vaes() -> list[ModelVersion]:
    """The newest version of every VAE that the scope sees, by name."""
    return _newest(_offered({AssetKind.VAE}).prefetch_related("files"))


def usable_ip_adapters() -> list[ModelVersion]:
    """The newest version of every IP-Adapter that the scope sees, by name."""
    return _newest(_offered({AssetKind.IP_ADAPTER}).prefetch_related("files"))


def usable_controls() -> list[ModelVersion]:
    """The newest version of every ControlNet that the scope sees, by name."""
    return _newest(_offered({AssetKind.CONTROLNET}).prefetch_related("files"))


def usable_mappers(kind: ControlKind | None = None) -> list[ModelVersion]:
    """The newest version of every map maker that the scope sees, by name; those of a kind."""
    versions = usable_versions(AssetKind.MAPPER)
    return [v for v in versions if kind in (None, MAPPED[Architecture(v.architecture)])]


def find_version(digest: str) -> ModelVersion | None:
    """A model the scope sees, by digest; old versions stay usable, so manifests never break."""
    found = _of_kinds(MODELS).filter(digest=digest)
    return found.order_by("asset__organization", "id").first()


def find_adapters(digests: Collection[str]) -> dict[str, ModelVersion]:
    """What works beside a model and the scope sees, by digest; the organization's own first."""
    found = _of_kinds(BESIDE_MODELS).filter(digest__in=digests).prefetch_related("files")
    return _own_first(found)


def adapters_of(organization_id: str, digests: Collection[str]) -> dict[str, ModelVersion]:
    """The same that an organization sees; for work in the system scope."""
    owners = Q(asset__organization_id=organization_id) | Q(asset__organization=None)
    return _own_first(_of_kinds(BESIDE_MODELS).filter(owners, digest__in=digests))


def _own_first(versions: QuerySet[ModelVersion]) -> dict[str, ModelVersion]:
    """By digest. Backwards the public ones come first, so an organization's own is what stays."""
    return {version.digest: version for version in versions.order_by("-asset__organization", "-id")}


def _of_kinds(kinds: Collection[AssetKind]) -> QuerySet[ModelVersion]:
    versions = ModelVersion.objects.select_related("asset")
    return versions.filter(asset__kind__in=[kind.value for kind in kinds])


def _offered(kinds: Collection[AssetKind]) -> QuerySet[ModelVersion]:
    """Those that can be chosen; what was removed is only found by its digest."""
    return _of_kinds(kinds).filter(asset__removed_at=None)


def _newest(versions: QuerySet[ModelVersion]) -> list[ModelVersion]:
    newest = list(versions.order_by("asset_id", "-number").distinct("asset_id"))
    return sorted(newest, key=lambda version: (version.asset.name.lower(), version.pk))
