"""`manage.py register_model`, as an admin types it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from accounts.models import Organization
from library.models import ModelAsset, ModelFile, ModelVersion
from library.selectors import usable_versions
from studio.core import storage
from studio.core.scoping import organization_scope, system_scope

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """A store that nothing else writes to."""
    settings.STORAGE_URL = (tmp_path / "store").as_uri()
    storage.store.cache_clear()
    yield tmp_path / "store"
    storage.store.cache_clear()


def weights(content: bytes = b"\x00" * 8) -> bytes:
    """A safetensors file with one tensor of `content`."""
    tensor = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"a": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + content


def make_folder(place: Path, content: bytes = b"\x00" * 8) -> Path:
    """The least that counts as a diffusers folder."""
    folder = place / "model"
    for part, config in {
        "unet": {"sample_size": 8},
        "vae": {"block_out_channels": [1, 2, 4, 4]},
    }.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    index = {"_class_name": "StableDiffusionPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(weights(content))
    return folder


def register(folder: Path, *arguments: str) -> str:
    """Run the command; what it printed."""
    said = StringIO()
    call_command("register_model", str(folder), *arguments, stdout=said)
    return said.getvalue()


def refusal(folder: Path, *arguments: str) -> str:
    """Run the command; the sentence it refuses with."""
    with pytest.raises(CommandError) as caught:
        register(folder, *arguments)
    return str(caught.value)


def test_a_public_model_is_seen_by_every_organization(tmp_path: Path, own_store: Path) -> None:
    first = Organization.objects.create(name="First")
    second = Organization.objects.create(name="Second")
    said = register(make_folder(tmp_path), "--name", "Plain", "--licence", "MIT", "--public")
    for organization in (first, second):
        with organization_scope(organization.pk):
            (version,) = usable_versions()
            assert (version.asset.name, version.asset.licence) == ("Plain", "MIT")
            assert (version.number, version.default_width) == (1, 64)
            assert version.digest in said
            assert all((own_store / file.storage_key).exists() for file in version.files.all())
    with system_scope():
        assert ModelFile.objects.count() == 4


def test_a_model_of_one_organization_is_invisible_to_another(tmp_path: Path) -> None:
    mine = Organization.objects.create(name="Mine")
    other = Organization.objects.create(name="Other")
    register(make_folder(tmp_path), "--name", "Secret", "--organization", mine.pk)
    with organization_scope(mine.pk):
        assert [version.asset.name for version in usable_versions()] == ["Secret"]
    with organization_scope(other.pk):
        assert usable_versions() == []


def test_the_same_files_again_are_the_same_version_and_others_the_next(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    first = register(folder, "--name", "Plain", "--public")
    assert register(folder, "--name", "Plain", "--public") == first
    make_folder(tmp_path, content=b"\x01" * 8)
    assert "version 2" in register(folder, "--name", "Plain", "--public")
    with system_scope():
        assert ModelVersion.objects.count() == 2


def test_a_mistyped_organization_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    known = Organization.objects.create(name="Known")
    said = refusal(make_folder(tmp_path), "--name", "Plain", "--organization", "org_no")
    assert said == f"There is no organization org_no. There are: {known.pk} (Known)."


def test_one_must_say_whose_the_model_is(tmp_path: Path) -> None:
    assert "--public --organization" in refusal(make_folder(tmp_path), "--name", "Plain")


@pytest.mark.parametrize("name", ["", "  ", "x" * 121])
def test_a_name_must_have_a_sensible_length(tmp_path: Path, name: str) -> None:
    said = refusal(make_folder(tmp_path), "--name", name, "--public")
    assert said == f"--name has {len(name.strip())} characters; give it 1 to 120."


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path / "nowhere", "--name", "Plain", "--public")
    assert said == f"There is no folder or file {tmp_path / 'nowhere'}."


def test_what_is_no_diffusers_folder_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "--name", "Plain", "--public")
    assert said == "model_index.json is missing or not JSON."


def test_an_unknown_pipeline_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "CogPipeline"}))
    said = refusal(folder, "--name", "Plain", "--public")
    assert said.startswith("CogPipeline is not a known pipeline; known are: StableDiffusion")


def test_pickled_weights_are_no_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))
    said = refusal(folder, "--name", "Plain", "--public")
    assert said == "There is no .safetensors file in the folder."


def test_cut_weights_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(weights()[:-1])
    said = refusal(folder, "--name", "Plain", "--public")
    assert said == f"{file.name} is cut short or has a tail."
    with system_scope():
        assert not ModelVersion.objects.exists()


def test_presets_come_from_a_file_and_stay_until_another_is_given(tmp_path: Path) -> None:
    folder, file = make_folder(tmp_path), tmp_path / "presets.json"
    file.write_text('[{"name": "Draft", "recipe": {"num_inference_steps": 8}}]')
    register(folder, "--name", "Plain", "--public", "--presets", str(file))
    register(folder, "--name", "Plain", "--public")
    with system_scope():
        (asset,) = ModelAsset.objects.all()
        assert asset.presets == [{"name": "Draft", "recipe": {"num_inference_steps": 8}}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "{file} is not JSON."),
        (b"\xff", "{file} is not JSON."),
        ('{"name": "Draft"}', "{file} must hold a list of presets."),
        ('[{"name": "Draft", "recipe": {}}]', "The preset 'Draft' sets nothing."),
        (None, "{file} cannot be read: No such file or directory."),
    ],
)
def test_a_file_of_presets_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str | bytes | None, said: str
) -> None:
    folder, file = make_folder(tmp_path), tmp_path / "presets.json"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    refused = refusal(folder, "--name", "Plain", "--public", "--presets", str(file))
    assert refused == said.format(file=file)
    with system_scope():
        assert not ModelAsset.objects.exists()
