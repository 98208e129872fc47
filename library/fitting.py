"""Which adapters fit which models: told by the headers of their files, which never change."""

from __future__ import annotations

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
from library.models import ModelFile, ModelVersion
from studio.core import storage

_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
_HEADERS_KEPT = 256
_PAIRS_KEPT = 4_096
_UNREADABLE = "its files cannot be read"


def why_unfit(adapter: ModelVersion, model: ModelVersion) -> str:
    """Why an adapter cannot be laid over a model; empty if it can."""
    if adapter.architecture != model.architecture:
        return f"it is for {adapter.architecture}, and the model is {model.architecture}"
    weights = _weights(adapter)
    return _why(weights[0][1], _weights(model)) if weights else _UNREADABLE


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
