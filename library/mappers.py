"""Folders with networks that make maps: recognised and checked before they are registered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gpuagent.protocol.adapter_files import AdapterUnfitError, read_header
from gpuagent.protocol.mapper_config import CONFIG_NAME
from gpuagent.protocol.mapper_files import (
    PROCESSOR_NAME,
    WEIGHTS_NAME,
    check_shapes,
    clean_config,
    read_side,
)
from gpuagent.protocol.taxonomy import Architecture
from studio.core.errors import invalid

CONFIG_MAX_BYTES = 100_000


def is_mapper(folder: Path) -> bool:
    """Whether the folder is laid out as transformers publishes a network; no pipeline is."""
    index = folder / "model_index.json"
    return not index.exists() and (folder / PROCESSOR_NAME).is_file()


def check_mapper(folder: Path) -> Architecture:
    """The known network that it is, read at a size that agents have memory for.

    Raises:
        InvalidInputError: it is not; the message says why.
    """
    config, processor = _read_json(folder / CONFIG_NAME), _read_json(folder / PROCESSOR_NAME)
    try:
        clean = clean_config(config)
        architecture = Architecture(str(clean["model_type"]))
        read_side(processor, architecture)
    except ValueError as error:
        raise invalid("folder", "unknown_network", f"{error}.") from error
    _check_weights(folder / WEIGHTS_NAME, clean)
    return architecture


def _check_weights(path: Path, config: Mapping[str, object]) -> None:
    if not path.is_file():
        message = f"There is no {path.name}. Only safetensors are taken, in one file."
        raise invalid("folder", "no_weights", message)
    try:
        with path.open("rb") as file:
            shapes = read_header(file).shapes
    except AdapterUnfitError as error:
        message = f"{path.name} is not a safetensors file, or has a broken header."
        raise invalid("folder", "broken_weights", message) from error
    try:
        check_shapes(shapes, config)
    except ValueError as error:
        message = f"{path.name} is not of the network that {CONFIG_NAME} names: {error}."
        raise invalid("folder", "other_weights", message) from error


def _read_json(path: Path) -> dict[str, object]:
    try:
        is_sound = path.stat().st_size <= CONFIG_MAX_BYTES and not path.is_symlink()
        raw = json.loads(path.read_text(encoding="utf-8")) if is_sound else None
    except (OSError, ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise invalid("folder", "unreadable", f"{path.name} is missing or not a JSON object.")
    return raw
