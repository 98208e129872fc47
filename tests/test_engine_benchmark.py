"""The engine's benchmark for GPUs: all of its code, with tiny models on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from benchmarks._engine_gpu import PIECES, run_on_gpu
from benchmarks._engine_gpu_flux import true_t5, true_transformer
from benchmarks._engine_gpu_sd15 import BATCHES
from benchmarks._engine_gpu_sdxl import true_unet
from benchmarks._engine_gpu_weights import lay_into_cache, made_quickly
from benchmarks.engine import main
from tests.gpuagent.support import model_ref
from tests.gpuagent.tiny_models import save_flux

POSITIVE = {
    "sd15": {f"{who}sd15_batch{batch}_per_s" for batch in BATCHES for who in ("", "stock_")},
    "sdxl": {"sdxl_30_s", "sdxl_4_s", "stock_sdxl_30_s", "stock_sdxl_4_s"},
    "flux-schnell": {"flux_schnell_4_s", "stock_flux_schnell_4_s"},
    "flux-dev": {"flux_dev_28_s", "stock_flux_dev_28_s"},
    "loras": {"gpu_lora_lay_s", "gpu_lora_count"},
    "live": {"first_preview_ms", "cancel_ms", "cancel_worst_ms", "live_plans_checked"},
    "switch": {"switch_s", "switches", "switch_gib"},
    "batches": {"sdxl_batch1_per_s", "sdxl_batch4_per_s"},
}


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_runs(piece: str) -> None:
    found = run_on_gpu([piece], device="cpu", is_tiny=True)
    for name in POSITIVE[piece]:
        figure = found[name]
        assert isinstance(figure, int | float), name
        assert figure > 0, name
    if piece == "loras":
        assert found["gpu_lora_recompiles"] == 0
    if piece in ("sdxl", "flux-dev"):
        error = found["planner_error" if piece == "sdxl" else "flux_dev_planner_error"]
        assert isinstance(error, float)


def test_it_is_asked_for_piece_by_piece(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--gpu", "--device", "cpu", "--tiny", "--only", "live"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert POSITIVE["live"] < set(figures)
    with pytest.raises(SystemExit):
        main(["--gpu", "--device", "cpu"])
    assert "--tiny" in capsys.readouterr().err


def test_weights_that_are_made_quickly_are_finite_and_of_their_precision() -> None:
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(70, 90), torch.nn.LayerNorm(90))

    model = made_quickly(build, torch.bfloat16)
    state = model.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert 0.01 < float(state["0.weight"].float().std()) < 0.03
    assert float(state["1.weight"].min()) == 1.0
    assert bool(model(torch.ones(1, 70, dtype=torch.bfloat16)).isfinite().all())


@pytest.mark.parametrize(
    ("build", "billions"),
    [(true_unet, 2.567), (true_t5, 4.762), (lambda: true_transformer(is_dev=True), 11.901)],
)
def test_architectures_have_their_published_sizes(
    build: Callable[[], torch.nn.Module], billions: float
) -> None:
    with torch.device("meta"):  # shapes without numbers
        model = build()
    assert sum(each.numel() for each in model.parameters()) / 1e9 == pytest.approx(
        billions, abs=0.001
    )


def test_a_text_encoder_that_was_made_quickly_can_be_loaded(tmp_path: Path) -> None:
    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    made_quickly(lambda: T5EncoderModel(config)).save_pretrained(tmp_path)
    loader: Any = T5EncoderModel
    said = loader.from_pretrained(tmp_path)(torch.tensor([[1, 2]])).last_hidden_state
    assert bool(said.isfinite().all())


def test_files_are_laid_into_a_cache_without_a_copy(tmp_path: Path) -> None:
    save_flux(tmp_path / "flux")
    ref = model_ref(tmp_path / "flux")
    lay_into_cache(ref, tmp_path / "flux", tmp_path / "cache")
    for file in ref.files:
        laid = tmp_path / "cache" / "models" / file.sha256
        assert laid.samefile(tmp_path / "flux" / file.path) or laid.stat().st_nlink > 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_on_gpu() == {"cuda": 0, "note": "no CUDA device"}
    assert "no CUDA device" in capsys.readouterr().err
