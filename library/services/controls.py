"""Registering a ControlNet: a diffusers folder or its one weights file, checked against the models.

It is kept as a folder of two files, so that an agent loads it like any network of diffusers; a file
under the names of the first code is written anew under those of diffusers. Where the config
was not given it is that of the U-Net which it fits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from django.db import transaction

from gpuagent.protocol.adapter_files import AdapterUnfitError, Header, read_header
from gpuagent.protocol.control_files import control_config, is_control
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import Architecture, AssetKind, ControlKind
from library.fitting import why_header_unfit
from library.models import ModelFile, ModelVersion
from library.selectors import usable_versions
from library.services.registration import (
    Description,
    FileFacts,
    create_version,
    hash_file,
    put_asset,
    put_file,
    version_digest,
)
from library.single_files.control import prefix_of, write_control
from library.single_files.pieces import UnfitFileError
from library.tensor_files import BrokenFileError, read_tensor_file
from studio.core import storage
from studio.core.errors import InvalidInputError

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CONFIG_MAX_BYTES = 100_000
# What must be as the U-Net has it; sizes of layers are told by the weights.
_SHARED = ("down_block_types", "mid_block_type", "block_out_channels", "layers_per_block")
_NAMED = {"pose": ControlKind.OPENPOSE, "softedge": ControlKind.SCRIBBLE}


def _refuse(code: str, message: str) -> InvalidInputError:
    return InvalidInputError([FieldProblem(field="file", code=code, message=message)])


def register_controlnet(
    path: Path,
    description: Description,
    *,
    organization_id: str | None,
    kinds: Collection[ControlKind] = (),
) -> ModelVersion:
    """Register it as the newest version of its name; the same files again: the same.

    `kinds` are the maps it reads; those that its names tell, if left out.

    Raises:
        InvalidInputError: it is refused; the message says why.
    """
    weights = _weights_of(path)
    with _renamed(weights) as named:
        return _register(path, named, description, organization_id, kinds)


def _register(
    path: Path,
    weights: Path,
    description: Description,
    organization_id: str | None,
    kinds: Collection[ControlKind],
) -> ModelVersion:
    header = _header_of(weights)
    model = _model_for(header, organization_id)
    config = _config_of(path, header, model)
    facts = [
        _fact(CONFIG, hashlib.sha256(config).hexdigest(), len(config)),
        _fact(WEIGHTS, hash_file(weights), weights.stat().st_size),
    ]
    _put_config(config, facts[0])
    put_file(weights, facts[1])
    words = [kind.value for kind in (kinds or kinds_told(path, description))]
    with transaction.atomic():
        asset = put_asset(description, AssetKind.CONTROLNET, None, organization_id)
        digest = version_digest(facts)
        existing = ModelVersion.objects.filter(asset=asset, digest=digest).first()
        if existing is not None:
            if kinds and existing.trigger_words != words:
                existing.trigger_words = words
                existing.save(update_fields=["trigger_words"])
            return existing
        architecture = Architecture(model.architecture)
        return create_version(asset, digest, architecture, facts, trigger_words=words)


@contextmanager
def _renamed(weights: Path) -> Iterator[Path]:
    """The weights under diffusers' names, while this lasts."""
    try:
        with weights.open("rb") as source:
            file = read_tensor_file(source, weights.stat().st_size)
        if prefix_of(file) is None:
            yield weights
            return
        with storage.work_folder() as folder:
            write_control(weights, file, folder / WEIGHTS)
            yield folder / WEIGHTS
    except BrokenFileError as error:
        raise _refuse("broken_weights", f"{weights.name} {error}.") from error
    except UnfitFileError as error:
        message = f"{weights.name} is a ControlNet that cannot be used: {error}."
        raise _refuse("not_a_controlnet", message) from error


def kinds_told(path: Path, description: Description) -> list[ControlKind]:
    """The kinds of maps that its names speak of; none if they say nothing."""
    text = f"{path.name} {description.name} {description.text}".lower()
    names = {**{kind.value: kind for kind in ControlKind}, **_NAMED}
    return list(dict.fromkeys(kind for name, kind in names.items() if re.search(name, text)))


def _weights_of(path: Path) -> Path:
    weights = path / WEIGHTS if path.is_dir() else path
    if weights.suffix.lower() != ".safetensors":
        message = f"{weights.name} is no .safetensors file; other formats can run code when read."
        raise _refuse("not_safetensors", message)
    if weights.is_symlink() or not weights.is_file():
        raise _refuse("unreadable", f"There is no file {weights.name}, or it is a link to one.")
    return weights


def _header_of(weights: Path) -> Header:
    try:
        with weights.open("rb") as file:
            header = read_header(file)
    except AdapterUnfitError as error:
        raise _refuse("not_a_controlnet", f"{weights.name} cannot be used: {error}.") from error
    if not is_control(header):
        message = f"{weights.name} is no ControlNet by the names of its tensors."
        raise _refuse("not_a_controlnet", message)
    return header


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


def _config_of(path: Path, header: Header, model: ModelVersion) -> bytes:
    """What came with the weights, or what the model's U-Net says."""
    unet = _unet_config(model)
    file = path / CONFIG
    if not path.is_dir():
        try:
            made = control_config(header, unet)
        except AdapterUnfitError as error:
            raise _refuse("not_a_controlnet", f"It cannot be used: {error}.") from error
        return (json.dumps(made, indent=2, sort_keys=True) + "\n").encode()
    if file.is_symlink() or not file.is_file() or file.stat().st_size > CONFIG_MAX_BYTES:
        raise _refuse("unreadable", f"{CONFIG} is missing, a link, or far too large.")
    content = file.read_bytes()
    _check_config(_parsed(content), unet)
    return content


def _check_config(config: Mapping[str, object], unet: Mapping[str, object]) -> None:
    if config.get("_class_name") != "ControlNetModel":
        message = f"{str(config.get('_class_name'))[:40]} is no ControlNetModel."
        raise _refuse("not_a_controlnet", message)
    for name in _SHARED:
        if config.get(name) != unet.get(name):
            raise _refuse("fits_no_model", f"{CONFIG} says another {name} than the model has.")


def _unet_config(model: ModelVersion) -> dict[str, object]:
    file = model.files.filter(path="unet/config.json").first()
    if file is None:
        raise _refuse("fits_no_model", f"{model.asset.name} has no U-Net to guide.")
    with storage.open_object(file.storage_key) as stored:
        return _parsed(stored.read())


def _parsed(content: bytes) -> dict[str, object]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _refuse("unreadable", f"{CONFIG} is not JSON.") from error
    if not isinstance(read, dict):
        raise _refuse("unreadable", f"{CONFIG} is not a JSON object.")
    return read


def _fact(path: str, sha256: str, size: int) -> FileFacts:
    return FileFacts(path=path, sha256=sha256, size_bytes=size)


def _put_config(content: bytes, fact: FileFacts) -> None:
    key = ModelFile(sha256=fact.sha256).storage_key
    if not storage.exists(key):
        storage.put(key, content)
