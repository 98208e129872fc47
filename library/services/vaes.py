"""Registering a VAE by itself: a diffusers folder, or its one weights file in diffusers' naming.

It is kept as a folder of two files. Where no config came with it, it is that of the model's own VAE
whose tensors have the same names and shapes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from django.db import transaction

from gpuagent.protocol.adapter_files import AdapterUnfitError, Header, read_header
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from library.fitting import header_of, vae_config, why_vae_unfit
from library.models import ModelFile, ModelVersion
from library.selectors import usable_versions
from library.services.registration import (
    Description,
    FileFacts,
    check_safetensors,
    create_version,
    hash_file,
    put_asset,
    put_file,
    version_digest,
)
from studio.core import storage
from studio.core.errors import InvalidInputError

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CONFIG_MAX_BYTES = 100_000
_ENTRY = "decoder.conv_in.weight"


def _refuse(code: str, message: str) -> InvalidInputError:
    return InvalidInputError([FieldProblem(field="file", code=code, message=message)])


def register_vae(
    path: Path, description: Description, *, organization_id: str | None
) -> ModelVersion:
    """Register it as the newest version of its name; the same files again: the same.

    Raises:
        InvalidInputError: it is refused; the message says why.
    """
    weights = path / WEIGHTS if path.is_dir() else path
    header = _header_at(weights)
    given = _config_at(path / CONFIG) if path.is_dir() else None
    model, config = _model_for(header, given, organization_id)
    content = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    facts = [
        FileFacts(path=CONFIG, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)),
        FileFacts(path=WEIGHTS, sha256=hash_file(weights), size_bytes=weights.stat().st_size),
    ]
    key = ModelFile(sha256=facts[0].sha256).storage_key
    if not storage.exists(key):
        storage.put(key, content)
    put_file(weights, facts[1])
    with transaction.atomic():
        asset = put_asset(description, AssetKind.VAE, None, organization_id)
        digest = version_digest(facts)
        existing = ModelVersion.objects.filter(asset=asset, digest=digest).first()
        if existing is not None:
            return existing
        return create_version(asset, digest, Architecture(model.architecture), facts)


def _header_at(weights: Path) -> Header:
    if weights.suffix.lower() != ".safetensors":
        message = f"{weights.name} is no .safetensors file; other formats can run code when read."
        raise _refuse("not_safetensors", message)
    if weights.is_symlink() or not weights.is_file():
        raise _refuse("unreadable", f"There is no file {weights.name}, or it is a link to one.")
    check_safetensors(weights)
    try:
        with weights.open("rb") as file:
            header = read_header(file)
    except AdapterUnfitError as error:
        raise _refuse("not_a_vae", f"{weights.name} cannot be used: {error}.") from error
    if _ENTRY not in header.shapes:
        message = f"{weights.name} is no VAE as diffusers names its tensors."
        raise _refuse("not_a_vae", message)
    return header


def _config_at(file: Path) -> dict[str, object]:
    if file.is_symlink() or not file.is_file() or file.stat().st_size > CONFIG_MAX_BYTES:
        raise _refuse("unreadable", f"{CONFIG} is missing, a link, or far too large.")
    try:
        read = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _refuse("unreadable", f"{CONFIG} is not JSON.") from error
    if not isinstance(read, dict) or read.get("_class_name") != "AutoencoderKL":
        raise _refuse("not_a_vae", f"{CONFIG} is not that of an AutoencoderKL.")
    return read


def _model_for(
    header: Header, config: dict[str, object] | None, organization_id: str | None
) -> tuple[ModelVersion, dict[str, object]]:
    """A model that it fits, of those that whoever will see it sees, too; and its config."""
    why = "there is no model yet"
    for model in usable_versions():
        if model.asset.organization_id not in (None, organization_id):
            continue
        own = vae_config(model)
        if config is None:
            is_same = dict(header_of(model, "vae").shapes) == dict(header.shapes)
            found = "" if is_same else "its tensors are others, and no config came with them"
        else:
            found = why_vae_unfit(config, own)
        if not found:
            return model, own if config is None else config
        why = f"for {model.asset.name}, {found}"
    raise _refuse(
        "fits_no_model", f"It fits no model here: {why}. Register the model it was made for first."
    )
