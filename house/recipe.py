"""The recipe of the house model (`recipe.toml`) and the folders it works in."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
ADAPTERS = HERE / "adapters"
JUDGE = HERE / "judge.safetensors"


@dataclass(frozen=True)
class Work:
    """The recipe, and the folder where the runs keep what they make."""

    folder: Path
    recipe: dict[str, dict[str, Any]]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def model(self) -> Path:
        """The assembled base model."""
        return self.folder / "model"

    @property
    def adapters(self) -> Path:
        """The trained adapters."""
        return self.folder / "adapters"

    @property
    def judge(self) -> Path:
        """The judge's weights."""
        return self.folder / "judge.safetensors"

    def run(self, stage: str) -> Path:
        """Where a stage keeps its checkpoint and its curve."""
        return self.folder / stage


def read_recipe(folder: Path, path: Path = HERE / "recipe.toml") -> Work:
    """The recipe at `path`, for work in `folder`."""
    return Work(folder, tomllib.loads(path.read_text(encoding="utf-8")))
