"""`register_model`: a diffusers folder becomes a version, or a sentence says why not."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.models import Organization
from library.models import ModelAsset, ModelFile, ModelVersion
from library.selectors import find_version, usable_versions
from library.services.registration import (
    Description,
    inspect_folder,
    register_model,
    version_digest,
)
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import HOUSE, make_model_version, make_safetensors, make_tiny_folder

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
DRAFT = {"name": "Draft", "recipe": {"num_inference_steps": 8}}
LARGE = {"name": "Large", "recipe": {"width": 192, "height": 192}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_folder(tmp_path / "model")


def refusal_of(folder: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        make_model_version(folder=folder)
    assert not ModelAsset.objects.exists()
    (problem,) = caught.value.problems
    return problem.code


def test_the_house_model_goes_the_way_of_every_model(organization_a: Organization) -> None:
    house = make_model_version()
    users = make_model_version(organization=organization_a, name="My copy")

    assert house.digest == users.digest
    assert (house.architecture, house.default_width, house.default_height) == ("sd15", 128, 128)
    for version in (house, users):
        files = dict(version.files.values_list("path", "size_bytes"))
        on_disk = {p.relative_to(HOUSE).as_posix() for p in HOUSE.rglob("*") if p.is_file()}
        assert set(files) == on_disk
        weights = sum(size for path, size in files.items() if path.endswith(".safetensors"))
        assert version.weights_bytes == weights


def test_files_lie_once_in_the_store_under_their_hash(folder: Path) -> None:
    make_model_version(folder=folder)
    make_model_version(folder=folder, name="Twin")

    for file in ModelFile.objects.all():
        content = storage.open_object(file.storage_key).read()
        assert content == (folder / file.path).read_bytes()


def test_a_half_written_file_in_the_store_is_written_again(folder: Path) -> None:
    first = make_model_version(folder=folder)
    key = ModelFile.objects.filter(path=WEIGHTS)[0].storage_key
    storage.put(key, b"half")

    assert make_model_version(folder=folder) == first
    assert storage.open_object(key).read() == (folder / WEIGHTS).read_bytes()


def test_the_same_files_again_are_the_same_version(folder: Path) -> None:
    assert make_model_version(folder=folder) == make_model_version(folder=folder)
    assert ModelVersion.objects.count() == 1


def test_changed_files_are_version_two_and_the_first_stays_usable(folder: Path) -> None:
    first = make_model_version(folder=folder)
    (folder / WEIGHTS).write_bytes(make_safetensors({"unet": b"better"}))
    second = make_model_version(folder=folder)

    assert (first.number, second.number) == (1, 2)
    assert [version.pk for version in usable_versions()] == [second.pk]
    assert find_version(first.digest) == first


def test_the_digest_knows_paths_and_contents_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (copy / "README.md").write_text("not part of the model")
    assert version_digest(inspect_folder(copy)) == version_digest(inspect_folder(folder))

    (copy / "unet" / "more.json").write_text("{}")
    assert version_digest(inspect_folder(copy)) != version_digest(inspect_folder(folder))


def test_an_organization_sees_its_own_models_and_the_public_ones(
    folder: Path, organization_a: Organization, organization_b: Organization
) -> None:
    public = make_model_version(folder=folder, name="Public")
    own = make_model_version(folder=folder, name="Own", organization=organization_a)

    with organization_scope(organization_a.pk):
        assert {version.pk for version in usable_versions()} == {public.pk, own.pk}
    with organization_scope(organization_b.pk):
        assert [version.pk for version in usable_versions()] == [public.pk]
        assert ModelFile.objects.values("version").distinct().count() == 1


def spoil_header(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(content)) + content)

    return spoil


def rewrite(path: str, content: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / path).write_text(content)

    return spoil


def cut_short(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-3])


def add_tail(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"tail")


def link_file(folder: Path) -> None:
    (folder / "unet" / "linked.json").symlink_to("/etc/passwd")


def link_folder(folder: Path) -> None:
    (folder / "tokenizer").symlink_to("/etc")


def remove_weights(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (spoil_header(b""), "broken_weights"),
        (spoil_header(b"{}"), "broken_weights"),
        (spoil_header(b"not json"), "broken_weights"),
        (spoil_header(b"[1, 2]"), "broken_weights"),
        (spoil_header(b"\xff\xfe"), "broken_weights"),
        (spoil_header(b'{"a": 1}'), "broken_weights"),
        (spoil_header(b'{"a": {"data_offsets": [0]}}'), "broken_weights"),
        (spoil_header(b'{"a": {"data_offsets": [0, "x"]}}'), "broken_weights"),
        (spoil_header(b'{"a": {"data_offsets": [0, Infinity]}}'), "broken_weights"),
        (spoil_header(b'{"a": {"data_offsets": [0, 9999999]}}'), "broken_weights"),
        (spoil_header(b"[" * 200_000), "broken_weights"),
        (lambda f: (f / WEIGHTS).write_bytes(b""), "broken_weights"),
        (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 64), "broken_weights"),
        (cut_short, "broken_weights"),
        (add_tail, "broken_weights"),
        (link_file, "symlink"),
        (link_folder, "symlink"),
        (remove_weights, "no_weights"),
        (rewrite("model_index.json", '{"_class_name": "EvilPipeline"}'), "unknown_pipeline"),
        (rewrite("model_index.json", "{}"), "unknown_pipeline"),
        (rewrite("model_index.json", "{"), "unreadable"),
        (rewrite("model_index.json", "[]"), "unreadable"),
        (rewrite("unet/config.json", "{}"), "unreadable"),
        (rewrite("vae/config.json", '{"block_out_channels": 3}'), "unreadable"),
        (lambda f: (f / "model_index.json").unlink(), "unreadable"),
    ],
)
def test_a_broken_folder_is_refused(
    folder: Path, spoil: Callable[[Path], object], code: str
) -> None:
    spoil(folder)
    assert refusal_of(folder) == code


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "nothing") == "unreadable"


def test_files_of_other_kinds_never_reach_the_store(folder: Path) -> None:
    (folder / "unet" / "pickle.bin").write_bytes(b"\x80\x04.")
    (folder / "model.py").write_text("import os")

    version = make_model_version(folder=folder)

    suffixes = {Path(path).suffix for path in version.files.values_list("path", flat=True)}
    assert suffixes == {".json", ".safetensors"}


def test_the_licence_and_the_examples_are_kept(folder: Path) -> None:
    asset = make_model_version(folder=folder).asset
    assert (asset.licence, asset.example_prompts) == ("CC0", [factories.PROMPT])
    with system_scope():
        assert json.dumps(asset.example_prompts)


def test_presets_are_kept_with_the_model(folder: Path) -> None:
    asset = make_model_version(folder=folder, presets=[DRAFT]).asset
    asset.refresh_from_db()
    assert asset.presets == [DRAFT]
    assert make_model_version(folder=folder, name="Plain").asset.presets == []


def test_a_bad_preset_leaves_nothing_behind(folder: Path, store_folder: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_model_version(folder=folder, presets=[LARGE, {"name": "Bad", "recipe": {"width": 1}}])
    assert caught.value.message.startswith("The preset 'Bad' cannot be used. Width is 1;")
    assert not ModelAsset.objects.exists()
    assert [path for path in store_folder.rglob("*") if path.is_file()] == []


def test_what_is_said_anew_replaces_and_what_is_left_out_stays(folder: Path) -> None:
    def register(description: Description) -> ModelAsset:
        version = register_model(folder, description, organization_id=None)
        assert version.number == 1
        return ModelAsset.objects.get(pk=version.asset_id)

    first = Description(
        name="Plain", licence="MIT", text="Old.", example_prompts=("a cat",), presets=[DRAFT]
    )
    register(first)
    kept = register(Description(name="Plain"))
    assert (kept.licence, kept.description) == ("MIT", "Old.")
    assert (kept.example_prompts, kept.presets) == (["a cat"], [DRAFT])

    second = Description(
        name="Plain", licence="CC0", text="New.", example_prompts=("a dog",), presets=[LARGE]
    )
    new = register(second)
    assert (new.licence, new.description) == ("CC0", "New.")
    assert (new.example_prompts, new.presets) == (["a dog"], [LARGE])

    assert register(Description(name="Plain", presets=[])).presets == []


def test_a_model_for_inpainting_is_known(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionInpaintPipeline"}))
    assert make_model_version(folder=folder).architecture == "sd15"
