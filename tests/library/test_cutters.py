"""Background removers: told from other folders, checked by their header, kept apart from models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpuagent.protocol.cutter_files import plain_shapes
from gpuagent.protocol.taxonomy import AssetKind
from library.selectors import usable_versions
from library.services.registration import Description, register_model
from studio.core.errors import InvalidInputError
from tests import factories
from tests.cutters import make_cutter_folder

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


def refused(folder: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        register_model(folder, Description(name="Other"), organization_id=None)
    (problem,) = caught.value.problems
    assert problem.message.endswith(".")
    return problem.code


def test_it_is_registered_and_nothing_to_draw_with(tmp_path: Path) -> None:
    house = factories.make_model_version()
    folder = make_cutter_folder(tmp_path / "cutter")
    version = register_model(folder, Description(name="Cutter"), organization_id=None)
    assert (version.asset.kind, version.architecture) == ("cutter", "u2net")
    assert (version.default_width, version.default_height) == (0, 0)
    assert usable_versions() == [house]
    assert usable_versions(AssetKind.CUTTER) == [version]
    assert usable_versions(AssetKind.UPSCALER) == []


def test_the_published_form_is_taken_with_its_counters(tmp_path: Path) -> None:
    """`u2netp` as it is converted: counters of batches included."""
    counters = {
        f"{name.removesuffix('.running_mean')}.num_batches_tracked": (1,)
        for name in plain_shapes(16, 64)
        if name.endswith(".running_mean")
    }
    assert len(counters) == 112
    folder = make_cutter_folder(tmp_path / "u2netp", plain_shapes(16, 64) | counters, side=320)
    register_model(folder, Description(name="U2-Net small"), organization_id=None)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"network": "other"}, "unknown_network"),
        ({"network": None}, "unknown_network"),
        ({"side": 4_096}, "bad_size"),
        ({"side": True}, "bad_size"),
        ({"side": "128"}, "bad_size"),
        ({"side": 0}, "bad_size"),
    ],
)
def test_an_unknown_network_or_size_is_refused(
    tmp_path: Path, config: dict[str, object], code: str
) -> None:
    assert refused(make_cutter_folder(tmp_path / "cutter", None, **config)) == code


def test_odd_files_are_refused(tmp_path: Path) -> None:
    shapes = plain_shapes(2, 4)
    short = {name: shape for name, shape in shapes.items() if name != "side3.bias"}
    assert refused(make_cutter_folder(tmp_path / "short", short)) == "other_weights"
    wide = shapes | {"stage2.rebnconv2.conv_s1.bias": (3,)}
    assert refused(make_cutter_folder(tmp_path / "wide", wide)) == "other_weights"
    more = shapes | {"stage7.bias": (3,)}
    assert refused(make_cutter_folder(tmp_path / "more", more)) == "other_weights"
    broken = make_cutter_folder(tmp_path / "broken")
    (broken / "cutout.safetensors").write_bytes(b"not weights at all")
    assert refused(broken) == "broken_weights"
    for text in ("[]", "{", json.dumps({"a": 1})[:3]):
        (broken / "config.json").write_text(text)
        assert refused(broken) == "unreadable"
    (broken / "config.json").unlink()
    assert refused(broken) == "unreadable"
