"""A VAE of its own, used in place of a model's: kept beside it, like a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typing_extensions import override

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.loaded import VAE, LoadedModel
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.steps import Watch
from gpuagent.planning.plan import Measure


class Autoencoder(LoadedModel):
    """One AutoencoderKL: loaded into host memory, then brought to the device."""

    def __init__(self, folder: Path, engine: Engine, *, is_half: bool = False) -> None:
        from diffusers import AutoencoderKL

        # The class is named here and never read from the files.
        vae = AutoencoderKL.from_pretrained(
            folder,
            torch_dtype=engine.vae_dtype(is_half=is_half),
            local_files_only=True,
            use_safetensors=True,
        )
        self.module: Any = vae.eval().requires_grad_(False)
        self.is_half = is_half
        super().__init__({VAE: Placed(self.module, engine.device)})

    @property
    def placed(self) -> Placed:
        """Where it lies: it comes and goes with the model that uses it."""
        return self._parts[VAE]

    @override
    def bring(self, measures: frozenset[Measure] = frozenset()) -> None:
        self.module.use_tiling = Measure.VAE_TILES in measures
        super().bring(measures)

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        del watch  # it decodes what a model draws, and has nothing to draw
