"""`register_vae`: a VAE by itself, with or without a config, for a model that is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from gpuagent.protocol.taxonomy import AssetKind
from library.fitting import why_unfit
from library.models import ModelAsset, ModelVersion
from library.selectors import find_adapters, usable_adapters, usable_vaes
from library.services.registration import Description, register_model
from library.services.vaes import register_vae
from studio.core.errors import InvalidInputError
from tests.gpuagent.tiny_models import FAMILIES, save_vae

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def models(system: None, tmp_path: Path) -> dict[str, ModelVersion]:
    made = {}
    for name in ("sdxl", "sd3"):
        FAMILIES[name][1](tmp_path / name)
        made[name] = register_model(tmp_path / name, Description(name=name), organization_id=None)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_vae(tmp_path / "vae", channels=4, scaling_factor=0.13025)
    return tmp_path / "vae"


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        register_vae(path, Description(name="Sharp"), organization_id=None)
    (problem,) = caught.value.problems
    assert problem.message.endswith(".")
    return problem.code


def test_a_folder_is_of_the_model_whose_latents_it_reads(
    models: dict[str, ModelVersion], folder: Path
) -> None:
    version = register_vae(folder, Description(name="Sharp"), organization_id=None)
    assert (version.asset.kind, version.architecture) == (AssetKind.VAE.value, "sdxl")
    assert why_unfit(version, models["sdxl"]) == ""
    assert "sd3" in why_unfit(version, models["sd3"])
    assert usable_vaes() == [version]
    assert usable_adapters() == []
    again = register_vae(folder, Description(name="Sharp"), organization_id=None)
    assert again == version
    ModelAsset.objects.filter(pk=version.asset_id).update(removed_at=timezone.now())
    assert usable_vaes() == []
    assert find_adapters([version.digest]) == {version.digest: version}


@pytest.mark.usefixtures("models")
def test_a_file_alone_takes_the_config_of_the_model_with_the_same_tensors(folder: Path) -> None:
    whole = register_vae(folder, Description(name="Sharp"), organization_id=None)
    alone = register_vae(folder / WEIGHTS, Description(name="Same"), organization_id=None)
    assert alone.architecture == "sdxl"
    assert {file.path for file in alone.files.all()} == {file.path for file in whole.files.all()}


@pytest.mark.usefixtures("models")
def test_others_are_refused_with_a_reason(folder: Path, tmp_path: Path) -> None:
    config = folder / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "scaling_factor": 0.5}))
    assert refusal(folder) == "fits_no_model"
    config.write_text(json.dumps({**said, "_class_name": "AutoencoderTiny"}))
    assert refusal(folder) == "not_a_vae"
    config.unlink()
    assert refusal(folder) == "unreadable"
    assert refusal(tmp_path / "sdxl" / "unet" / WEIGHTS) == "not_a_vae"
    (tmp_path / "vae.pt").write_bytes(b"pickled")
    assert refusal(tmp_path / "vae.pt") == "not_safetensors"


@pytest.mark.usefixtures("models")
def test_the_command_says_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("register_vae", str(folder), "--name", "Sharp", "--public")
    assert "Sharp is in the library: version 1, sdxl, digest" in capsys.readouterr().out
