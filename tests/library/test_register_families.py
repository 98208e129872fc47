"""Models of every family come into the library by the way of all models, and their LoRAs after."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from gpuagent.protocol.taxonomy import AssetKind
from library.models import ModelVersion
from library.services.adapters import register_adapter
from library.services.registration import Description, register_model
from studio.core.errors import InvalidInputError
from tests.gpuagent.tiny_models import FAMILIES, save_sdxl

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


def register(name: str, folder: Path) -> ModelVersion:
    _architecture, save = FAMILIES[name]
    save(folder)
    return register_model(folder, Description(name=name), organization_id=None)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_of_each_family_is_recognised(name: str, tmp_path: Path) -> None:
    version = register(name, tmp_path)
    side = 1024 if name.startswith("flux") else 64
    assert version.architecture == FAMILIES[name][0].value
    assert version.asset.kind == AssetKind.CHECKPOINT.value
    assert (version.default_width, version.default_height) == (side, side)


def test_a_refiner_is_a_model_of_its_family(tmp_path: Path) -> None:
    save_sdxl(tmp_path, is_refiner=True)
    version = register_model(tmp_path, Description(name="Refiner"), organization_id=None)
    assert version.architecture == "sdxl"


def save_lora(path: Path, stem: str, out: int, into: int) -> Path:
    import torch

    tensors = {
        f"{stem}.lora_A.weight": torch.zeros(2, into),
        f"{stem}.lora_B.weight": torch.zeros(out, 2),
    }
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("stem", "shape", "architecture"),
    [
        ("unet.mid_block.attentions.0.transformer_blocks.1.attn2.to_k", (64, 64), "sdxl"),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", (32, 32), "sdxl"),
        ("transformer.single_transformer_blocks.0.attn.to_v", (32, 32), "flux"),
        ("base_model.model.transformer_blocks.0.attn.add_q_proj", (32, 32), "flux"),
    ],
)
def test_a_lora_is_of_the_family_whose_layers_it_changes(
    stem: str, shape: tuple[int, int], architecture: str, tmp_path: Path
) -> None:
    for name in ("sdxl", "flux dev"):
        register(name, tmp_path / name)
    file = save_lora(tmp_path / "lora.safetensors", stem, *shape)
    version = register_adapter(file, Description(name="LoRA"), organization_id=None)
    assert version.architecture == architecture


def test_a_lora_of_no_family_here_is_refused(tmp_path: Path) -> None:
    register("flux schnell", tmp_path / "flux")
    stem = "unet.mid_block.attentions.0.transformer_blocks.1.attn2.to_k"
    file = save_lora(tmp_path / "lora.safetensors", stem, 64, 64)
    with pytest.raises(InvalidInputError) as caught:
        register_adapter(file, Description(name="LoRA"), organization_id=None)
    assert [problem.code for problem in caught.value.problems] == ["fits_no_model"]
