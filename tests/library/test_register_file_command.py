"""`manage.py register_model FILE`: a single file is recognized and registered like an upload."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from library.models import ModelVersion
from tests import factories
from tests.library.single_file import make_tiny_model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "system")]
ADAPTERS = factories.HOUSE.parent / "adapters"


@pytest.fixture(autouse=True)
def _work(settings: LazySettings, tmp_path: Path) -> None:
    settings.WORK_FOLDER = str(tmp_path / "work")


def register(path: Path) -> str:
    out = StringIO()
    call_command("register_model", str(path), "--name", "One", "--public", stdout=out)
    return out.getvalue()


def test_a_checkpoint(tmp_path: Path) -> None:
    said = register(make_tiny_model().save(tmp_path / "one.safetensors"))
    assert "version 1, sd15" in said
    assert ModelVersion.objects.get().files.filter(path="tokenizer/merges.txt").exists()


def test_a_lora() -> None:
    factories.make_model_version()
    register(ADAPTERS / "neon" / "pytorch_lora_weights.safetensors")
    assert ModelVersion.objects.get(asset__name="One").asset.kind == "lora"


def test_a_pickle_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(CommandError, match="is a pickle, which can run code"):
        register(path)


def test_a_part_of_a_folder_is_no_model() -> None:
    with pytest.raises(CommandError, match=r"is a U-Net alone\. It is a part of a diffusers fold"):
        register(factories.HOUSE / "unet" / "diffusion_pytorch_model.safetensors")
