"""Folders with weights that cut objects out: recognised and checked before they are registered."""

from __future__ import annotations

import json
from pathlib import Path

from gpuagent.planning.cutting import READ_SIDE_MAX
from gpuagent.protocol.adapter_files import AdapterUnfitError, read_header
from gpuagent.protocol.cutter_files import stages_of
from studio.core.errors import invalid

# Agents know the names, too: gpuagent.pipelines.cutout.
CUTTER_CONFIG, CUTTER_WEIGHTS = "config.json", "cutout.safetensors"
CUTTER_NETWORKS = ("u2net",)
READ_SIDE_MIN = 64


def is_cutter(folder: Path) -> bool:
    """Whether the folder says that it is one."""
    return (folder / CUTTER_WEIGHTS).is_file()


def check_cutter(folder: Path) -> None:
    """A known network, read at a side that agents have memory for, with all its weights.

    Raises:
        InvalidInputError: it is not; the message says why.
    """
    config = _read_config(folder / CUTTER_CONFIG)
    network, side = str(config.get("network")), config.get("side")
    if network not in CUTTER_NETWORKS:
        known = ", ".join(CUTTER_NETWORKS)
        message = f"{network[:40]} is no known background remover; known are: {known}."
        raise invalid("folder", "unknown_network", message)
    number = side if isinstance(side, int) and not isinstance(side, bool) else 0
    if not READ_SIDE_MIN <= number <= READ_SIDE_MAX:
        message = (
            f"{CUTTER_CONFIG} must say side, at which pictures are read: "
            f"a whole number from {READ_SIDE_MIN} to {READ_SIDE_MAX}."
        )
        raise invalid("folder", "bad_size", message)
    _check_weights(folder / CUTTER_WEIGHTS)


def _read_config(path: Path) -> dict[str, object]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise invalid("folder", "unreadable", f"{path.name} is missing or not a JSON object.")
    return raw


def _check_weights(path: Path) -> None:
    try:
        with path.open("rb") as file:
            shapes = read_header(file).shapes
    except AdapterUnfitError as error:
        message = f"{path.name} is not a safetensors file, or has a broken header."
        raise invalid("folder", "broken_weights", message) from error
    try:
        stages_of(shapes)
    except ValueError as error:
        message = f"{path.name} is not a U²-Net: {str(error)[:80]} is missing, odd or too much."
        raise invalid("folder", "other_weights", message) from error
