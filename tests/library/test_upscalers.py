"""Weights out of a package: converted byte for byte, registered once, kept apart from models."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
from safetensors import safe_open

from gpuagent.protocol.taxonomy import AssetKind
from library.models import ModelAsset, ModelFile, ModelVersion
from library.ncnn import NcnnError, convert_upscaler
from library.selectors import first_version, usable_versions
from library.services.registration import Description, register_model
from library.services.upscalers import register_upscalers
from library.single_files.upscaler import plan_upscaler
from library.tensor_files import read_tensor_file
from studio.core import storage
from studio.core.errors import InvalidInputError
from tests import factories
from tests.upscalers import LARGE, make_upscaler_folder, packaged

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


def test_the_package_brings_an_upscaler_once() -> None:
    versions = register_upscalers()
    assert [version.asset.name for version in versions] == ["Real-ESRGAN", "Real-ESRGAN x4plus"]
    for version in versions:
        assert (version.asset.kind, version.architecture) == ("upscaler", "esrgan")
        assert version.default_width == 0
    assert 1_200_000 < versions[0].weights_bytes < 33_000_000 < versions[1].weights_bytes
    ModelAsset.objects.filter(pk=versions[0].asset.pk).update(
        name="Ours", description="In our words."
    )
    for file in ModelFile.objects.all():
        storage.delete(file.storage_key)

    assert register_upscalers() == versions

    assert ModelVersion.objects.count() == 2
    assert ModelAsset.objects.get(name="Ours").description == "In our words."
    assert all(storage.exists(file.storage_key) for file in ModelFile.objects.all())


def test_upscalers_are_no_models_to_draw_with() -> None:
    upscalers, house = register_upscalers(), factories.make_model_version()
    assert usable_versions() == [house]
    assert usable_versions(AssetKind.UPSCALER) == upscalers


def test_the_quickest_is_taken_where_nobody_chose() -> None:
    quick, large = register_upscalers()
    ModelAsset.objects.filter(pk=large.asset.pk).update(name="A large one")
    assert first_version(AssetKind.UPSCALER) == quick


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("library.services.upscalers.PACKAGE", "no-such-package-here")
    assert register_upscalers() == []
    assert not ModelAsset.objects.exists()


def test_numbers_are_those_of_the_package(tmp_path: Path) -> None:
    config, weights = convert_upscaler(*packaged())
    assert config == {"network": "compact", "features": 64, "blocks": 16}
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights)
    _param, raw = packaged()
    with safe_open(path, framework="numpy") as file:
        first, last = file.get_tensor("body.0.weight"), file.get_tensor("body.34.bias")
        assert (first.shape, last.shape) == ((64, 3, 3, 3), (48,))
        assert len(list(file.keys())) == 17 * 3 + 2
    assert first.astype("<f2").tobytes() == raw[4 : 4 + 2 * 1728]
    assert last.astype("<f4").tobytes() == raw[-4 * 48 :]


def test_the_large_network_is_whole_and_in_its_order() -> None:
    config, weights = convert_upscaler(*packaged(LARGE))
    assert config == {
        "network": "rrdb",
        "features": 64,
        "growth": 32,
        "blocks": 23,
        "ups": 2,
        "fold": 1,
    }
    file = read_tensor_file(io.BytesIO(weights), len(weights))
    told, pieces = plan_upscaler(file.shapes)
    assert told == config
    assert all(piece.old == piece.new for piece in pieces)
    _param, raw = packaged(LARGE)
    first, last = file.entries["conv_first.weight"], file.entries["conv_last.bias"]
    assert weights[first.begin : first.end] == raw[4 : 4 + 2 * 1728]
    assert weights[last.begin : last.end] == raw[-4 * 3 :]


@pytest.mark.parametrize(
    ("param", "weights"),
    [
        ("", b""),
        ("7767517\n1 1\n", b""),
        ("1\n", b"x"),
        ("7767517\n1 1\nConvolution a 1 1 x y 0=64 1=3 5=1 6=1728", b"\x01\x02\x03\x04"),
        ("7767517\n1 1\nConvolution a 1 1 x y 0=0 1=3 5=1 6=1728", struct.pack("<I", 0)),
    ],
)
def test_other_files_are_refused(param: str, weights: bytes) -> None:
    with pytest.raises(NcnnError):
        convert_upscaler(param, weights)


@pytest.mark.parametrize("cut", [-1, 1])
def test_a_damaged_file_is_refused(cut: int) -> None:
    param, weights = packaged()
    with pytest.raises(NcnnError):
        convert_upscaler(param, weights[:cut] if cut < 0 else weights + b"\0" * cut)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"network": "other"}, "unknown_network"),
        ({}, "unknown_network"),
        ({"network": "compact", "features": 64}, "bad_size"),
        ({"network": "compact", "features": 64, "blocks": 10**9}, "bad_size"),
        ({"network": "compact", "features": "64", "blocks": 16}, "bad_size"),
        ({"network": "rrdb", "features": 64, "blocks": 16}, "bad_size"),
    ],
)
def test_a_folder_of_an_unknown_network_is_refused(
    tmp_path: Path, config: dict[str, object], code: str
) -> None:
    folder = make_upscaler_folder(tmp_path / "upscaler")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInputError) as caught:
        register_model(folder, Description(name="Other"), organization_id=None)
    assert caught.value.problems[0].code == code


def test_a_name_stands_for_one_kind(tmp_path: Path) -> None:
    factories.make_model_version(name="Mine")
    folder = make_upscaler_folder(tmp_path / "upscaler")
    with pytest.raises(InvalidInputError) as caught:
        register_model(folder, Description(name="Mine"), organization_id=None)
    assert caught.value.problems[0].code == "other_kind"
