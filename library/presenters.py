"""Models and uploads as the pages and the API show them."""

from __future__ import annotations

from typing import Any

from accounts.actors import Actor
from library.memory import measured_of
from library.models import ModelAsset, ModelUpload, ModelVersion, UploadState
from library.presets import describe_recipe, usable_presets
from library.recognition import FAMILY_NAMES, KIND_NAMES
from library.services.catalog import may_change
from library.services.upload_store import PIECE_BYTES
from library.uploads import FILE_TEXTS

STATE_WORDS = {
    UploadState.RECEIVING.value: "waiting for the rest",
    UploadState.FETCHING.value: "being fetched",
    UploadState.CHECKING.value: "being checked",
    UploadState.DONE.value: "added",
    UploadState.FAILED.value: "refused",
}


def version_json(version: ModelVersion) -> dict[str, Any]:
    """A version of a model."""
    return {
        "id": version.pk,
        "number": version.number,
        "digest": version.digest,
        "source_sha256": version.source_sha256,
        "architecture": version.architecture,
        "trigger_words": version.trigger_words,
        "bytes": sum(file.size_bytes for file in version.files.all()),
        "created_at": version.created_at,
        "memory": [
            {"gpu_class": name, **values} for name, values in sorted(measured_of(version).items())
        ],
    }


def asset_json(asset: ModelAsset) -> dict[str, Any]:
    """A model with all its versions, the newest first."""
    versions = sorted(asset.versions.all(), key=lambda version: -version.number)
    return {
        "id": asset.pk,
        "name": asset.name,
        "kind": asset.kind,
        "licence": asset.licence,
        "description": asset.description,
        "example_prompts": asset.example_prompts,
        "presets": usable_presets(asset.presets),
        "is_public": asset.organization_id is None,
        "removed_at": asset.removed_at,
        "versions": [version_json(version) for version in versions],
    }


def upload_json(upload: ModelUpload) -> dict[str, Any]:
    """A file on its way. What has arrived is `received_bytes`: the next piece begins there."""
    version = upload.version
    return {
        "id": upload.pk,
        "state": upload.state,
        "file_name": upload.file_name,
        "size_bytes": upload.size_bytes,
        "received_bytes": upload.received_bytes,
        "piece_bytes": PIECE_BYTES,
        "details": _said(upload),
        "problem": upload.problem or None,
        "model": version.asset_id if version is not None else None,
        "digest": version.digest if version is not None else None,
        "expires_at": upload.expires_at,
    }


def _said(upload: ModelUpload) -> dict[str, Any]:
    """Without the texts of files: they may be as long as two hundred pages."""
    return {name: said for name, said in upload.details.items() if name not in FILE_TEXTS}


def asset_row(asset: ModelAsset) -> dict[str, Any]:
    """An entry of the list."""
    newest = max(asset.versions.all(), key=lambda version: version.number, default=None)
    row: dict[str, Any] = {
        "id": asset.pk,
        "name": asset.name,
        "kind": KIND_NAMES.get(asset.kind, asset.kind),
        "licence": asset.licence,
        "is_public": asset.organization_id is None,
        "is_removed": asset.removed_at is not None,
    }
    if newest is not None:
        row |= {
            "family": FAMILY_NAMES.get(newest.architecture, newest.architecture),
            "number": newest.number,
            "bytes": sum(file.size_bytes for file in newest.files.all()),
            "digest": newest.digest,
            "triggers": newest.trigger_words,
            "memory": sorted(measured_of(newest).items()),
        }
    return row


def asset_page(asset: ModelAsset, actor: Actor) -> dict[str, Any]:
    """The page of one model."""
    shown = asset_json(asset)
    for version in shown["versions"]:
        version["family"] = FAMILY_NAMES.get(version["architecture"], version["architecture"])
    presets = [
        {"name": preset["name"], "says": describe_recipe(preset["recipe"])}
        for preset in shown["presets"]
    ]
    kind = KIND_NAMES.get(asset.kind, asset.kind)
    return {**shown, "kind": kind, "presets": presets, "may_change": may_change(actor, asset)}


def upload_row(upload: ModelUpload) -> dict[str, Any]:
    """An upload in the list of what is on its way."""
    size = upload.size_bytes
    return {
        "id": upload.pk,
        "file_name": upload.file_name,
        "name": upload.details.get("name", ""),
        "details": _said(upload),
        "state": upload.state,
        "says": STATE_WORDS[upload.state],
        "size_bytes": size,
        "received_bytes": upload.received_bytes,
        "percent": min(100, 100 * upload.received_bytes // size) if size else 0,
        "problem": upload.problem.get("message", ""),
        "model": upload.version.asset_id if upload.version is not None else "",
        "expires_at": upload.expires_at,
        "may_try_again": bool(
            upload.state == UploadState.FAILED.value
            and upload.size_bytes
            and upload.received_bytes == upload.size_bytes
        ),
    }
