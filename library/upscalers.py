"""Folders with weights that enlarge pictures: recognised and checked before they are registered."""

from __future__ import annotations

import json
from pathlib import Path

from library.single_files.pieces import UnfitFileError
from library.single_files.upscaler import plan_upscaler
from library.tensor_files import BrokenFileError, read_tensor_file
from studio.core.errors import InvalidInputError, invalid

# A folder with these two is an upscaler. Agents know the names, too: gpuagent.pipelines.upscale.
UPSCALER_CONFIG, UPSCALER_WEIGHTS = "config.json", "upscaler.safetensors"
NETWORKS = ("compact", "rrdb")


def is_upscaler(folder: Path) -> bool:
    """Whether the folder says that it is one."""
    return (folder / UPSCALER_WEIGHTS).is_file()


def check_upscaler(folder: Path) -> None:
    """A known network with just its weights, and a configuration that says what they are of.

    Raises:
        InvalidInputError: it is not; the message says why.
    """
    config, path = _read_config(folder / UPSCALER_CONFIG), folder / UPSCALER_WEIGHTS
    network = str(config.get("network"))
    if network not in NETWORKS:
        known = ", ".join(NETWORKS)
        message = f"{network[:40]} is no known upscaler; known are: {known}."
        raise _refused("unknown_network", message)
    try:
        with path.open("rb") as file:
            shapes = read_tensor_file(file, path.stat().st_size).shapes
        told, pieces = plan_upscaler(shapes)
    except BrokenFileError as error:
        raise _refused("broken_weights", f"{path.name} {error}.") from error
    except UnfitFileError as error:
        raise _refused("other_weights", f"{path.name} cannot be used: {error}.") from error
    if any(piece.old != piece.new for piece in pieces):
        message = f"{path.name} has the names of another tool. Add it as a single file."
        raise _refused("other_names", message)
    if not all(_is_same(config.get(name), size) for name, size in told.items()):
        message = f"{UPSCALER_CONFIG} must say what the weights are of: {json.dumps(told)}."
        raise _refused("bad_size", message)


def _is_same(said: object, told: object) -> bool:
    """JSON's `true` is no 1."""
    return type(said) is type(told) and said == told


def _read_config(path: Path) -> dict[str, object]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise _refused("unreadable", f"{path.name} is missing or not a JSON object.")
    return raw


def _refused(code: str, message: str) -> InvalidInputError:
    return invalid("folder", code, message)
