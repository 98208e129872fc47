"""The command line: stages in the wrong order are told so; only `release` writes to the house."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import train
from house.recipe import ADAPTERS, JUDGE, MODEL, read_recipe


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser", "judge", "canny", "release"])
def test_a_stage_before_its_turn_says_which_is_missing(stage: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run that first"):
        train.main([stage, "--work", str(tmp_path)])


def test_every_need_is_a_stage_that_leaves_something(tmp_path: Path) -> None:
    work = read_recipe(tmp_path)
    for name, stage in train.STAGES.items():
        assert train.missing(work, name) == list(stage.needs)
    for needed in {need for stage in train.STAGES.values() for need in stage.needs}:
        (tmp_path / train._LEFT[needed]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / train._LEFT[needed]).touch()
    assert not [name for name in train.STAGES if train.missing(work, name)]


def test_release_replaces_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = read_recipe(tmp_path / "work")
    for folder in (work.model, work.adapters):
        folder.mkdir(parents=True)
        (folder / "new").write_text("new")
    work.judge.write_bytes(b"judge")
    homes = {"MODEL": "model", "ADAPTERS": "adapters", "JUDGE": "judge.safetensors"}
    for name, home in homes.items():
        monkeypatch.setattr(train, name, tmp_path / "house" / home)
    (tmp_path / "house" / "model").mkdir(parents=True)
    (tmp_path / "house" / "model" / "old").write_text("old")
    train.release(work)
    files = {path.name for path in (tmp_path / "house").rglob("*") if path.is_file()}
    assert files == {"new", "judge.safetensors"}


def test_what_is_released_lies_together() -> None:
    assert MODEL.is_dir()
    assert ADAPTERS.is_dir()
    assert JUDGE.is_file()
    total = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())
    assert total <= 20e6
    for adapter in ADAPTERS.iterdir():
        size = sum(path.stat().st_size for path in adapter.rglob("*") if path.is_file())
        assert size <= 6.5e6, adapter.name
    assert not [path for path in HOUSE_FILES if path.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


HOUSE_FILES = [path for folder in (MODEL, ADAPTERS) for path in folder.rglob("*")]
