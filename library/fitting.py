"""Which adapters fit which models: told by the headers of their files, which never change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from gpuagent.protocol.adapter_files import (
    AdapterUnfitError,
    Bases,
    Header,
    check_fit,
    layers_of,
    read_header,
    write_header,
)
from gpuagent.protocol.control_files import check_control, is_control
from gpuagent.protocol.ip_adapter_files import Encoder, check_ip_adapter, encoder_of, is_ip_adapter
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from library.models import ModelFile, ModelVersion
from studio.core import storage

_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
_HEADERS_KEPT = 256
_PAIRS_KEPT = 4_096
_UNREADABLE = "its files cannot be read"
_NO_REFINERS = "models of this family finish alone"
_LATENTS = {"latent_channels": 4, "scaling_factor": 0.18215, "shift_factor": None}


def why_unfit(adapter: ModelVersion, model: ModelVersion) -> str:
    """Why an adapter cannot be laid over a model; empty if it can."""
    if adapter.architecture != model.architecture:
        return f"it is for {adapter.architecture}, and the model is {model.architecture}"
    if adapter.asset.kind == AssetKind.CHECKPOINT.value:
        return "" if model.architecture == Architecture.SDXL.value else _NO_REFINERS
    if adapter.asset.kind == AssetKind.VAE.value:
        return _why_vae(adapter, model)
    weights = _weights(adapter)
    if adapter.asset.kind == AssetKind.IP_ADAPTER.value:
        weights = tuple(each for each in weights if "/" not in each[0])  # without its encoder
    return _why(weights[0][1], _weights(model)) if weights else _UNREADABLE


def _why_vae(vae: ModelVersion, model: ModelVersion) -> str:
    try:
        return why_vae_unfit(vae_config(vae), vae_config(model))
    except Exception:  # as below
        return _UNREADABLE


def why_vae_unfit(config: Mapping[str, object], own: Mapping[str, object]) -> str:
    """Why a VAE of this config cannot read the latents of a model whose own has that; empty if so.

    What is not said is what diffusers takes it for.
    """
    for name, default in _LATENTS.items():
        its, models = config.get(name, default), own.get(name, default)
        if its != models:
            return f"its {name} is {str(its)[:20]}, and the model's {str(models)[:20]}"
    sizes = [each.get("block_out_channels") for each in (config, own)]
    if not all(isinstance(size, list) for size in sizes) or len(set(map(_length, sizes))) > 1:
        return "a latent of it stands for a patch of another size"
    return ""


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def vae_config(version: ModelVersion) -> dict[str, object]:
    """The config of a VAE, or of a model's own."""
    path = "config.json" if version.asset.kind == AssetKind.VAE.value else "vae/config.json"
    file = next((file for file in version.files.all() if file.path == path), None)
    return dict(_config(file.sha256)) if file is not None else {}


def encoder_sizes(version: ModelVersion) -> Encoder:
    """Of an image encoder in the library."""
    return encoder_of(_header(_weights(version)[0][1]))


def header_of(version: ModelVersion, part: str) -> Header:
    """Names and shapes of all tensors of a part of a model."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, sha256 in _weights(version):
        if path.startswith(f"{part}/"):
            shapes.update(_header(sha256).shapes)
    return Header(shapes=shapes)


def why_header_unfit(header: Header, model: ModelVersion) -> str:
    """The same of a file that is not in the library yet."""
    try:
        _check(header, _bases(_weights(model)))
    except AdapterUnfitError as error:
        return str(error)
    return ""


def _weights(version: ModelVersion) -> tuple[tuple[str, str], ...]:
    """Path and hash of each weights file."""
    files = sorted(version.files.all(), key=lambda file: file.path)
    return tuple((f.path, f.sha256) for f in files if f.path.endswith(".safetensors"))


def _why(adapter: str, model: tuple[tuple[str, str], ...]) -> str:
    try:
        return _compared(adapter, model)
    except Exception:  # a store's errors are of many kinds, and no page is to fail for them
        return _UNREADABLE  # not kept: the store may be back the next time


@lru_cache(maxsize=_PAIRS_KEPT)
def _compared(adapter: str, model: tuple[tuple[str, str], ...]) -> str:
    try:
        _check(_header(adapter), _bases(model))
    except AdapterUnfitError as error:
        return str(error)
    return ""


def _check(header: Header, bases: Bases) -> None:
    if is_control(header):
        check_control(header, bases)
    elif is_ip_adapter(header):
        check_ip_adapter(header, bases)
    else:
        check_fit(header, bases)


def _bases(files: tuple[tuple[str, str], ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    bases: dict[str, dict[str, tuple[int, ...]]] = {}
    for path, sha256 in files:
        part = path.split("/", 1)[0]
        if part in _PARTS:
            bases.setdefault(part, {}).update(layers_of(_header(sha256)))
    return bases


@lru_cache(maxsize=_HEADERS_KEPT)
def _config(sha256: str) -> Mapping[str, object]:
    with storage.open_object(ModelFile(sha256=sha256).storage_key) as file:
        read = json.loads(file.read())
    return read if isinstance(read, dict) else {}


@lru_cache(maxsize=_HEADERS_KEPT)
def _header(sha256: str) -> Header:
    kept = ModelFile(sha256=sha256)
    if storage.exists(kept.header_key):
        with storage.open_object(kept.header_key) as file:
            return read_header(file)
    # Registered before headers were kept: a store that is no folder reads all of it, once.
    with storage.open_object(kept.storage_key) as file:
        header = read_header(file)
    storage.put(kept.header_key, write_header(header))
    return header
