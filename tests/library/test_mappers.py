"""Map makers: told from other folders, checked by their JSON and header, kept apart from models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import LazySettings

from gpuagent.protocol.taxonomy import MAPPED, Architecture, AssetKind, ControlKind
from library.selectors import find_adapters, find_version, usable_mappers, usable_versions
from library.services.files import register_file
from library.services.registration import Description, register_model
from library.uploads import read_details
from studio.core.errors import InvalidInputError
from tests import factories
from tests.mappers import bare_mapper

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


def refused(folder: Path) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        register_model(folder, Description(name="Other"), organization_id=None)
    (problem,) = caught.value.problems
    assert problem.message.endswith(".")
    return problem.code, problem.message


@pytest.mark.parametrize("architecture", list(MAPPED))
def test_it_is_registered_and_nothing_to_draw_with(
    tmp_path: Path, architecture: Architecture
) -> None:
    house = factories.make_model_version()
    folder = bare_mapper(tmp_path / "mapper", architecture)
    version = register_model(folder, Description(name="Maps"), organization_id=None)
    assert (version.asset.kind, version.architecture) == ("mapper", architecture.value)
    assert (version.default_width, version.default_height) == (0, 0)
    assert {file.path for file in version.files.all()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert usable_versions() == [house]
    assert usable_mappers() == usable_versions(AssetKind.MAPPER) == [version]
    for kind in (ControlKind.DEPTH, ControlKind.OPENPOSE):
        assert usable_mappers(kind) == ([version] if MAPPED[architecture] is kind else [])
    assert find_version(version.digest) == version
    assert find_adapters([version.digest]) == {version.digest: version}


@pytest.mark.parametrize("architecture", list(MAPPED))
def test_its_files_may_come_one_by_one(
    tmp_path: Path, architecture: Architecture, settings: LazySettings
) -> None:
    """As from the page: weights by themselves, with the texts of the two others."""
    settings.WORK_FOLDER = str(tmp_path / "work")
    folder = bare_mapper(tmp_path / "mapper", architecture)
    whole = register_model(folder, Description(name="Maps"), organization_id=None)
    texts = {
        "config": (folder / "config.json").read_text(),
        "preprocessor": (folder / "preprocessor_config.json").read_text(),
    }
    weights = folder / "model.safetensors"
    details = read_details({"name": "Maps", **texts})
    assert read_details(details.to_json()) == details
    sent = register_file(weights, Description(name="Maps"), organization_id=None, **texts)
    assert sent == whole
    for left in texts:
        with pytest.raises(InvalidInputError) as caught:
            register_file(
                weights, Description(name="Maps"), organization_id=None, **{left: texts[left]}
            )
        (problem,) = caught.value.problems
        assert problem.code == "incomplete"
        assert "is a map maker. Choose its" in problem.message
    with pytest.raises(InvalidInputError):
        read_details({"name": "Maps", "config": "x" * 200_000})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "zoedepth"}, "known map makers are"),
        ({"architectures": ["DPTModel"]}, "DPTForDepthEstimation"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "nothing is fetched or run here"),
        ({"backbone": "somebody/weights"}, "nothing is fetched here"),
        ({"use_timm_backbone": True}, "nothing is fetched or run here"),
    ],
)
def test_what_is_no_known_network_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    code, message = refused(bare_mapper(tmp_path / "mapper", Architecture.DPT, **changes))
    assert code == "unknown_network"
    assert said in message


HUGE = {"model_type": "dinov2", "hidden_size": 16_384, "num_hidden_layers": 1, "image_size": 16}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"backbone_config": {"model_type": []}}, "unknown_network"),
        ({"fusion_hidden_size": 10**400}, "unknown_network"),
        ({"backbone_config": {**HUGE, "num_hidden_layers": 64}}, "other_weights"),
        ({"backbone_config": HUGE}, "other_weights"),
        ({"neck_hidden_sizes": [16_384] * 4, "fusion_hidden_size": 16_384}, "other_weights"),
    ],
)
def test_no_config_breaks_the_check_or_asks_for_more_than_its_weights_are(
    tmp_path: Path, changes: dict[str, object], code: str
) -> None:
    folder = bare_mapper(tmp_path / "mapper", Architecture.DEPTH_ANYTHING, **changes)
    assert refused(folder)[0] == code


@pytest.mark.parametrize("depth", [900, 40_000])
def test_json_nested_without_end_is_refused_or_left_out(tmp_path: Path, depth: int) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        folder = bare_mapper(tmp_path / name, Architecture.DPT)
        text = (folder / name).read_text()
        field = "neck_hidden_sizes" if name == "config.json" else "size"
        nested = "[" * depth + "]" * depth
        (folder / name).write_text(text[:-1] + f', "{field}": {nested}}}')
        assert refused(folder)[0] in {"unreadable", "unknown_network"}


def test_odd_files_are_refused(tmp_path: Path) -> None:
    def folder(name: str) -> Path:
        return bare_mapper(tmp_path / name, Architecture.VITPOSE)

    other = bare_mapper(tmp_path / "other", Architecture.DPT)
    weights = folder("weights")
    (weights / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    code, message = refused(weights)
    assert code == "other_weights"
    assert "head.conv.weight" in message
    broken = folder("broken")
    (broken / "model.safetensors").write_bytes(b"not weights at all")
    assert refused(broken)[0] == "broken_weights"
    pickled = folder("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert refused(pickled)[0] == "no_weights"
    large = folder("large")
    (large / "preprocessor_config.json").write_text(json.dumps({"size": 4_096}))
    assert "from 16 to 518" in refused(large)[1]
    for text in ("[]", "{", "x" * 200_000):
        odd = folder(f"odd{len(text)}")
        (odd / "config.json").write_text(text)
        assert refused(odd)[0] == "unreadable"
