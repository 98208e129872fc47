"""Registering IP-Adapters and their image encoders: safetensors, checked against what is here.

An encoder is an entry of its own, since several IP-Adapters read the same one. An IP-Adapter takes
the encoder's files into its version: what a recipe names is whole, whatever becomes of the entry,
and the bytes lie once in the store all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from django.db import transaction

from gpuagent.protocol.adapter_files import AdapterUnfitError, Header, read_header
from gpuagent.protocol.ip_adapter_files import (
    Encoder,
    Wanted,
    encoder_config,
    encoder_of,
    is_image_encoder,
    is_ip_adapter,
    sizes_said,
    wanted_by,
)
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from library.fitting import encoder_sizes, why_header_unfit
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
from library.uploads import PICKLED
from studio.core import storage
from studio.core.errors import InvalidInputError, invalid

# Agents know these names, too: gpuagent.pipelines.ip_adapter.
WEIGHTS, ENCODER = "ip_adapter.safetensors", "image_encoder"
ENCODER_CONFIG, ENCODER_WEIGHTS = "config.json", "model.safetensors"
CONFIG_MAX_BYTES = 100_000
_T = TypeVar("_T")
_OF_ENCODER = (
    "hidden_act",
    "num_attention_heads",
    "layer_norm_eps",
    "num_channels",
)


def _refuse(code: str, message: str) -> InvalidInputError:
    return invalid("file", code, message)


def register_ip_adapter(
    path: Path, description: Description, *, organization_id: str | None
) -> ModelVersion:
    """Register a file as the newest version of its name; the same with the same encoder: the same.

    The encoder beside it (`image_encoder`) is registered first, if there is one; else it must be
    in the library.

    Raises:
        InvalidInputError: it is refused; the message says why.
    """
    header = _header_of(path)
    if not is_ip_adapter(header):
        raise _refuse("not_an_ip_adapter", f"{path.name} is no IP-Adapter as they are published.")
    wanted = _checked(path, lambda: wanted_by(header))
    model = _model_for(header, organization_id)
    encoder = _encoder_for(path, wanted, description, organization_id)
    facts = [
        FileFacts(path=WEIGHTS, sha256=hash_file(path), size_bytes=path.stat().st_size),
        *(
            FileFacts(path=f"{ENCODER}/{file.path}", sha256=file.sha256, size_bytes=file.size_bytes)
            for file in encoder.files.all()
        ),
    ]
    put_file(path, facts[0])
    return _put(
        description, AssetKind.IP_ADAPTER, facts, Architecture(model.architecture), organization_id
    )


def register_image_encoder(
    path: Path, description: Description, *, organization_id: str | None
) -> ModelVersion:
    """Register a folder, or its weights alone, as the newest version of its name.

    Without a config it must be one of the encoders that IP-Adapters are published for.

    Raises:
        InvalidInputError: it is refused; the message says why.
    """
    weights = path / ENCODER_WEIGHTS if path.is_dir() else path
    header = _header_of(weights)
    if not is_image_encoder(header):
        message = f"{weights.name} is no image encoder (CLIP with its projection)."
        raise _refuse("not_an_image_encoder", message)
    sizes = _checked(weights, lambda: encoder_of(header))
    if path.is_dir():
        config = _given_config(path / ENCODER_CONFIG, sizes)
    else:
        config = _checked(weights, lambda: encoder_config(sizes))
    content = (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
    facts = [
        FileFacts(
            path=ENCODER_CONFIG,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        ),
        FileFacts(
            path=ENCODER_WEIGHTS, sha256=hash_file(weights), size_bytes=weights.stat().st_size
        ),
    ]
    key = ModelFile(sha256=facts[0].sha256).storage_key
    if not storage.exists(key):
        storage.put(key, content)
    put_file(weights, facts[1])
    return _put(
        description, AssetKind.IMAGE_ENCODER, facts, Architecture.CLIP_VISION, organization_id
    )


def _put(
    description: Description,
    kind: AssetKind,
    facts: Sequence[FileFacts],
    architecture: Architecture,
    organization_id: str | None,
) -> ModelVersion:
    with transaction.atomic():
        asset = put_asset(description, kind, None, organization_id)
        digest = version_digest(facts)
        existing = ModelVersion.objects.filter(asset=asset, digest=digest).first()
        if existing is not None:
            return existing
        return create_version(asset, digest, architecture, facts)


def _header_of(weights: Path) -> Header:
    if weights.suffix.lower() in PICKLED:
        message = (
            f"{weights.name} is a pickle, which can run code when it is read. The same is "
            "published as .safetensors."
        )
        raise _refuse("pickled", message)
    if weights.is_symlink() or not weights.is_file():
        raise _refuse("unreadable", f"There is no file {weights.name}, or it is a link to one.")
    check_safetensors(weights)

    def read() -> Header:
        with weights.open("rb") as file:
            return read_header(file)

    return _checked(weights, read)


def _checked(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except AdapterUnfitError as error:
        raise _refuse("unusable", f"{path.name} cannot be used: {error}.") from error


def _model_for(header: Header, organization_id: str | None) -> ModelVersion:
    """A model that it fits, of those that whoever will see it sees, too."""
    why = "there is no model yet"
    for model in usable_versions():
        if model.asset.organization_id not in (None, organization_id):
            continue
        found = why_header_unfit(header, model)
        if not found:
            return model
        why = f"for {model.asset.name}, {found}"
    raise _refuse(
        "fits_no_model", f"It fits no model here: {why}. Register the model it was made for first."
    )


def _encoder_for(
    path: Path, wanted: Wanted, description: Description, organization_id: str | None
) -> ModelVersion:
    """The image encoder that it reads, of those that whoever will see it sees, too."""
    beside = path.parent / ENCODER
    if beside.is_dir():
        told = Description(name=f"Encoder of {description.name}", licence=description.licence)
        found = register_image_encoder(beside, told, organization_id=organization_id)
        if encoder_sizes(found).serves(wanted):
            return found
    for version in usable_versions(AssetKind.IMAGE_ENCODER):
        is_seen = version.asset.organization_id in (None, organization_id)
        if is_seen and encoder_sizes(version).serves(wanted):
            return version
    raise _refuse(
        "needs_image_encoder",
        f"It reads {wanted.said} from an image encoder, and none here gives that. Add its image "
        "encoder first (published beside it as image_encoder/model.safetensors), then try again.",
    )


def _given_config(file: Path, sizes: Encoder) -> Mapping[str, object]:
    """What the config says of the encoder, and nothing else: no class, no code."""
    if file.is_symlink() or not file.is_file() or file.stat().st_size > CONFIG_MAX_BYTES:
        raise _refuse("unreadable", f"{file.name} is missing, a link, or far too large.")
    try:
        read = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _refuse("unreadable", f"{file.name} is not JSON.") from error
    if not isinstance(read, dict):
        raise _refuse("unreadable", f"{file.name} is not a JSON object.")
    for name, size in sizes_said(sizes).items():
        if read.get(name) != size:
            message = f"{file.name} says another {name} than its weights have."
            raise _refuse("unusable", message)
    heads = read.get("num_attention_heads")
    if not isinstance(heads, int) or heads < 1 or sizes.width % heads:
        raise _refuse("unusable", f"{file.name} says an impossible num_attention_heads.")
    if read.get("num_channels", 3) != 3 or not isinstance(read.get("hidden_act", ""), str):
        raise _refuse("unusable", f"{file.name} says an impossible num_channels or hidden_act.")
    said = {name: read[name] for name in _OF_ENCODER if name in read}
    return {
        **said,
        **sizes_said(sizes),
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
    }
