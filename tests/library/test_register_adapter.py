"""Registering LoRAs and embeddings: recognised, checked against the models here, kept once."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Organization
from gpuagent.protocol.taxonomy import AssetKind
from library.models import ModelAsset, ModelVersion
from library.selectors import find_version, usable_adapters, usable_versions
from library.services.adapters import register_adapter
from library.services.registration import Description
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "system")]
ADAPTERS = factories.HOUSE.parent / "adapters"
NEON = ADAPTERS / "neon" / "pytorch_lora_weights.safetensors"
TEAL = ADAPTERS / "teal" / "learned_embeds.safetensors"


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


def register(path: Path, name: str = "Neon", *words: str) -> ModelVersion:
    with system_scope():
        return register_adapter(
            path, Description(name=name), organization_id=None, trigger_words=words
        )


def refusal(path: Path, *words: str) -> tuple[str, str]:
    """Code and sentence of the one problem."""
    with pytest.raises(InvalidInputError) as caught:
        register(path, "Refused", *words)
    (problem,) = caught.value.problems
    assert not ModelAsset.objects.filter(name="Refused").exists()
    return problem.code, problem.message


def make_file(path: Path, tensors: Mapping[str, tuple[int, ...]], **said: str) -> Path:
    """A sound file of U8 tensors of these shapes."""
    header: dict[str, object] = {"__metadata__": said} if said else {}
    offset = 0
    for name, shape in tensors.items():
        end = offset + shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return path


@pytest.mark.usefixtures("house")
def test_a_lora_is_recognised_hashed_and_stored() -> None:
    version = register(NEON, "Neon", "neon sign of")

    assert (version.asset.kind, version.architecture) == (AssetKind.LORA.value, "sd15")
    assert version.trigger_words == ["neon sign of"]
    assert version.weights_bytes == NEON.stat().st_size
    file = version.files.get()
    assert storage.exists(file.storage_key)
    assert storage.size(file.storage_key) == NEON.stat().st_size


@pytest.mark.usefixtures("house")
def test_an_embedding_is_called_by_the_name_in_its_file() -> None:
    version = register(TEAL, "Teal")
    assert (version.asset.kind, version.trigger_words) == (AssetKind.EMBEDDING.value, ["<teal>"])


@pytest.mark.usefixtures("house")
def test_an_embedding_without_a_name_is_called_by_its_files(tmp_path: Path) -> None:
    file = make_file(tmp_path / "calm.safetensors", {"emb_params": (2, 128)})
    assert register(file).trigger_words == ["calm"]


@pytest.mark.usefixtures("house")
def test_trigger_words_are_read_from_the_file(tmp_path: Path) -> None:
    stem = "unet.down_blocks.0.resnets.0.conv1"
    shapes: dict[str, tuple[int, ...]] = {f"{stem}.lora_A.weight": (2, 720)}
    file = make_file(tmp_path / "x.safetensors", shapes, trigger_words="a, b")
    assert refusal(file)[0] == "fits_no_model"  # half of a pair
    raw = NEON.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header["__metadata__"] = {"modelspec.trigger_phrase": "neon sign, tubes"}
    text = json.dumps(header).encode()
    said = tmp_path / "said.safetensors"
    said.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])
    assert register(said, "Said").trigger_words == ["neon sign", "tubes"]


@pytest.mark.usefixtures("house")
def test_the_same_file_is_the_same_version_whatever_it_is_called(tmp_path: Path) -> None:
    first = register(NEON)
    again = register(shutil.copyfile(NEON, tmp_path / "other.safetensors"), "Neon", "neon")
    assert again == first
    assert again.trigger_words == ["neon"]
    assert register(TEAL, "Teal") != register(TEAL, "Teal", "<sea>")


def test_an_adapter_needs_a_model_that_it_fits(tmp_path: Path) -> None:
    code, message = refusal(NEON)
    assert (code, "no model yet" in message) == ("fits_no_model", True)
    factories.make_model_version(folder=factories.make_tiny_folder(tmp_path / "tiny"), name="Tiny")
    code, message = refusal(NEON)
    assert code == "fits_no_model"
    assert "for Tiny, the model has no layer 'unet.conv_in'" in message


@pytest.mark.usefixtures("house")
def test_what_is_no_adapter_is_refused_with_a_reason(tmp_path: Path) -> None:
    pickled = tmp_path / "style.pt"
    pickled.write_bytes(b"\x80\x04\x95")
    assert refusal(pickled)[0] == "pickled"
    disguised = tmp_path / "style.safetensors"
    disguised.write_bytes(b"\x80\x04\x95" + bytes(64))
    assert refusal(disguised)[0] == "broken_weights"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(NEON.read_bytes()[:-1])
    assert refusal(cut)[0] == "broken_weights"
    link = tmp_path / "link.safetensors"
    link.symlink_to(NEON)
    assert refusal(link)[0] == "unreadable"
    canny = ADAPTERS / "canny" / "diffusion_pytorch_model.safetensors"
    assert refusal(canny)[0] == "not_an_adapter"
    wide = make_file(tmp_path / "wide.safetensors", {"<w>": (768,)})
    assert "768 numbers wide, and the model's words are 128" in refusal(wide)[1]
    assert refusal(TEAL, "two words")[0] == "bad_trigger"
    assert refusal(TEAL, "<a>", "<b>")[0] == "bad_trigger"


@pytest.mark.usefixtures("house")
def test_a_name_is_of_one_kind() -> None:
    with pytest.raises(InvalidInputError) as caught:
        register(NEON, "House")
    assert caught.value.problems[0].code == "other_kind"


def test_adapters_are_not_offered_as_models(house: ModelVersion) -> None:
    neon = register(NEON)
    with system_scope():
        assert usable_versions() == [house]
        assert usable_adapters() == [neon]
        assert find_version(neon.digest) is None


@pytest.mark.usefixtures("house")
def test_an_organization_sees_its_own_and_the_public_ones(
    organization_a: Organization, organization_b: Organization
) -> None:
    with organization_scope(organization_a.pk):
        own = register_adapter(NEON, Description(name="Own"), organization_id=organization_a.pk)
    public = register(TEAL, "Teal")
    with organization_scope(organization_a.pk):
        assert usable_adapters() == [own, public]
    with organization_scope(organization_b.pk):
        assert usable_adapters() == [public]


@pytest.mark.usefixtures("house")
def test_the_command_says_what_it_registered(organization_a: Organization) -> None:
    out = StringIO()
    call_command(
        "register_adapter", TEAL, "--name=Teal", f"--organization={organization_a.pk}", stdout=out
    )
    assert "Teal is in the library: embedding, version 1, sd15, trigger words: <teal>" in (
        out.getvalue()
    )
    with pytest.raises(CommandError, match="There is no file"):
        call_command("register_adapter", TEAL.parent / "no", "--name=Teal", "--public")
    with pytest.raises(CommandError, match="cannot call an embedding"):
        call_command("register_adapter", TEAL, "--name=Teal", "--public", "--trigger=a b")
