"""The engine on a GPU, in pieces of a few minutes each: true architectures with random weights,
stock diffusers against the agent.

Speed does not depend on what weights say, so nothing is downloaded. Written without a GPU at hand:
`tests/test_engine_benchmark.py` runs all pieces on a CPU with tiny models, as does
`--gpu --device cpu --tiny`.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from benchmarks._engine_gpu_flux import measure_flux, save_true_flux
from benchmarks._engine_gpu_live import (
    Subject,
    measure_batches,
    measure_liveliness,
    measure_loras,
    measure_switching,
)
from benchmarks._engine_gpu_sd15 import measure, save_true_sd15
from benchmarks._engine_gpu_sdxl import measure_sdxl, save_true_sdxl
from benchmarks._report import Figure, say
from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.protocol.taxonomy import Architecture
from gpuagent.runner.freeing import give_back_freed
from tests.gpuagent.test_tiny_true_classes import save_tiny
from tests.gpuagent.tiny_models import save_flux, save_sdxl


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where it runs, and in which sizes."""

    engine: Engine
    root: Path
    is_tiny: bool

    def sd15(self) -> Subject:
        """Saved once."""
        if not (self.root / "sd15").exists():
            (save_tiny if self.is_tiny else save_true_sd15)(self.root / "sd15")
        return self._subject("sd15", Architecture.SD15, 512)

    def sdxl(self) -> Subject:
        """Saved once."""
        if not (self.root / "sdxl").exists():
            (save_sdxl if self.is_tiny else save_true_sdxl)(self.root / "sdxl")
        return self._subject("sdxl", Architecture.SDXL, 1_024)

    def flux(self, kind: str) -> None:
        """Saved for one piece."""
        if self.is_tiny:
            save_flux(self.root / "flux", is_dev=kind == "dev")
        else:
            save_true_flux(self.root / "flux", kind)

    def _subject(self, folder: str, architecture: Architecture, side: int) -> Subject:
        return Subject(
            engine=self.engine,
            root=self.root,
            folder=folder,
            architecture=architecture,
            side=64 if self.is_tiny else side,
            steps=2 if self.is_tiny else 20,
        )


def _sd15(bench: Bench) -> dict[str, Figure]:
    bench.sd15()
    small = {"side": 64, "steps": 2, "rounds": 1} if bench.is_tiny else {}
    return measure(bench.engine, bench.root, **small)


def _sdxl(bench: Bench) -> dict[str, Figure]:
    bench.sdxl()
    if bench.is_tiny:
        return measure_sdxl(bench.engine, bench.root, side=64, rounds=1)
    return measure_sdxl(bench.engine, bench.root)


def _flux(bench: Bench, kind: str) -> dict[str, Figure]:
    bench.flux(kind)
    small = {"side": 64, "rounds": 1, "steps": 2} if bench.is_tiny else {}
    return measure_flux(bench.engine, bench.root, kind, **small)


# Each fits into ten minutes, the making of its model included.
PIECES: Mapping[str, Callable[[Bench], dict[str, Figure]]] = MappingProxyType(
    {
        "sd15": _sd15,
        "sdxl": _sdxl,
        "flux-schnell": lambda bench: _flux(bench, "schnell"),
        "flux-dev": lambda bench: _flux(bench, "dev"),
        "loras": lambda bench: measure_loras(bench.sd15(), count=4 if bench.is_tiny else 200),
        "live": lambda bench: measure_liveliness(bench.sdxl(), rounds=2 if bench.is_tiny else 9),
        "switch": lambda bench: measure_switching(
            bench.sdxl(), switches=4 if bench.is_tiny else 10
        ),
        "batches": lambda bench: measure_batches(bench.sdxl(), rounds=1 if bench.is_tiny else 3),
    }
)


def run_on_gpu(
    only: Sequence[str] = (), *, device: str = "cuda", is_tiny: bool = False
) -> dict[str, Figure]:
    """The figures of these pieces, or of all; or what is missing."""
    if device == "cuda" and not torch.cuda.is_available():
        say("no CUDA device")
        return {"cuda": 0, "note": "no CUDA device"}
    engine = detect_engine()
    figures: dict[str, Figure] = {"cuda": int(engine.has_own_memory), "device": engine.device_name}
    for name in only or PIECES:
        with tempfile.TemporaryDirectory(prefix="studio-gpu-") as folder:
            say(f"{name} …")
            bench = Bench(engine=engine, root=Path(folder), is_tiny=is_tiny)
            figures |= PIECES[name](bench)
        gc.collect()
        give_back_freed(from_gpu=engine.has_own_memory)
    return figures
