"""The house's background remover, and folders like it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from gpuagent.protocol.cutter_files import plain_shapes

HOUSE = Path(__file__).parent.parent / "house" / "adapters" / "cutout"


def copy_cutter(folder: Path) -> Path:
    """The house's own, in a folder that an agent may read."""
    shutil.copytree(HOUSE, folder)
    return folder


def make_cutter_folder(
    folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **config: object
) -> Path:
    """A tiny one with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"network": "u2net", "side": 128, **config}
    (folder / "config.json").write_text(json.dumps(said))
    random = np.random.default_rng(1)
    tensors = {
        name: np.abs(random.standard_normal(shape, dtype=np.float32) / 4)
        for name, shape in (shapes or plain_shapes(2, 4)).items()
    }
    save_file(tensors, folder / "cutout.safetensors")
    return folder
