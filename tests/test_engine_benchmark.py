"""The engine's benchmark for GPUs: all of its code, with a tiny model on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks._engine_gpu import BATCHES, measure, run_on_gpu
from benchmarks._engine_gpu_sdxl import measure_sdxl
from gpuagent.pipelines.engine import detect_engine
from tests.gpuagent.test_tiny_true_classes import save_tiny
from tests.gpuagent.tiny_models import save_sdxl


def test_all_of_it_runs(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    found = measure(detect_engine(threads=1), tmp_path, side=64, steps=2, rounds=1)
    for batch in BATCHES:
        for side in ("", "stock_"):
            figure = found[f"{side}sd15_batch{batch}_per_s"]
            assert isinstance(figure, float)
            assert figure > 0
    assert isinstance(found["switch_s"], float)
    assert found["switches"] == 6


def test_of_sdxl_too(tmp_path: Path) -> None:
    save_sdxl(tmp_path / "sdxl")
    found = measure_sdxl(
        detect_engine(threads=1), tmp_path, side=64, rounds=1, steps={"sdxl_4_s": 2}
    )
    for name in ("sdxl_4_s", "stock_sdxl_4_s"):
        figure = found[name]
        assert isinstance(figure, float)
        assert figure > 0
    assert isinstance(found["planner_error"], float)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_on_gpu() == {"cuda": 0, "note": "no CUDA device"}
    assert "no CUDA device" in capsys.readouterr().err
