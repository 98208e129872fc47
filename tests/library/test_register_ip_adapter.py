"""IP-Adapters and image encoders in the library: recognised, put together, refused with reasons."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from django.core.management import CommandError, call_command
from safetensors.torch import load_file, save_file

from accounts.models import Organization
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.ip_adapter import IPAdapter
from gpuagent.protocol.adapter_files import AdapterUnfitError, Header
from gpuagent.protocol.ip_adapter_files import encoder_config, encoder_of
from jobs.adapter_choices import adapter_choices
from library.fitting import why_unfit
from library.models import ModelAsset, ModelVersion
from library.selectors import usable_adapters, usable_ip_adapters, usable_versions
from library.services.files import register_file
from library.services.ip_adapters import register_image_encoder, register_ip_adapter
from library.services.registration import Description
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.gpuagent.tiny_models import save_ip_adapter

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "system")]
LIKENESS = "Likeness"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IP-Adapter for the house model, its image encoder beside it."""
    folder = tmp_path_factory.mktemp("published")
    unet = UNet2DConditionModel.from_pretrained(factories.HOUSE / "unet")
    save_ip_adapter(folder, unet)
    return folder


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def alone(published: Path, tmp_path: Path) -> Path:
    """The file without the encoder beside it, as an upload has it."""
    path = tmp_path / "ip-adapter.safetensors"
    shutil.copyfile(published / "ip_adapter.safetensors", path)
    return path


def register(path: Path, owner: str | None = None, name: str = LIKENESS) -> ModelVersion:
    with system_scope() if owner is None else organization_scope(owner):
        return register_ip_adapter(path, Description(name=name), organization_id=owner)


def encoder(path: Path, owner: str | None = None) -> ModelVersion:
    with system_scope() if owner is None else organization_scope(owner):
        return register_image_encoder(path, Description(name="CLIP"), organization_id=owner)


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        register(path, name="Refused")
    (problem,) = caught.value.problems
    assert not ModelAsset.objects.filter(name="Refused").exists()
    return problem.code, problem.message


def test_it_takes_the_encoder_into_its_version(
    house: ModelVersion, published: Path, alone: Path, tmp_path: Path
) -> None:
    code, message = refusal(alone)
    assert code == "needs_image_encoder"
    assert "24 numbers for a picture" in message
    kept = encoder(published / "image_encoder")
    assert (kept.asset.kind, kept.architecture) == ("image_encoder", "clip_vision")
    version = register(alone)
    assert (version.asset.kind, version.architecture) == ("ip_adapter", "sd15")
    files = {file.path: file for file in version.files.all()}
    assert set(files) == {
        "ip_adapter.safetensors",
        "image_encoder/config.json",
        "image_encoder/model.safetensors",
    }
    shared = {file.sha256 for file in kept.files.all()}
    assert shared < {file.sha256 for file in files.values()}
    assert version.weights_bytes > kept.weights_bytes
    assert register(alone).pk == version.pk
    # As an agent gets them, its files are one that it can load.
    for path, file in files.items():
        target = tmp_path / "agent" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with storage.open_object(file.storage_key) as stored:
            target.write_bytes(stored.read())
    IPAdapter(tmp_path / "agent", detect_engine(threads=1))
    assert why_unfit(version, house) == ""


def test_it_is_offered_among_adapters_with_the_models_it_fits(
    house: ModelVersion, published: Path, tmp_path: Path
) -> None:
    version = register(published / "ip_adapter.safetensors")
    tiny = factories.make_model_version(
        folder=factories.make_tiny_folder(tmp_path / "tiny"), name="Tiny"
    )
    (choice,) = adapter_choices([house, tiny])
    assert (choice["kind"], choice["name"]) == ("ip_adapter", LIKENESS)
    assert choice["models"] == [house.digest]
    assert "no U-Net that looks at words" in why_unfit(version, tiny)
    assert [found.pk for found in usable_ip_adapters()] == [version.pk]
    assert usable_adapters() == []
    assert {found.asset.name for found in usable_versions()} == {"House", "Tiny"}


@pytest.mark.usefixtures("house")
def test_an_upload_of_each_is_recognised(alone: Path, published: Path) -> None:
    encoder(published / "image_encoder")
    with system_scope():
        version = register_file(alone, Description(name=LIKENESS), organization_id=None)
    assert version.asset.kind == "ip_adapter"
    # The tiny encoder is none that is published, so its config would have to come along.
    weights = published / "image_encoder" / "model.safetensors"
    with system_scope(), pytest.raises(InvalidInputError) as caught:
        register_file(weights, Description(name="Other"), organization_id=None)
    assert "config.json must come along" in caught.value.problems[0].message


def test_published_encoders_are_known_by_their_sizes() -> None:
    norms = [f"vision_model.{name}" for name in ("pre_layrnorm", "post_layernorm")]
    shapes: dict[str, tuple[int, ...]] = {"vision_model.embeddings.class_embedding": (1280,)}
    for name in norms:
        shapes |= {f"{name}.weight": (1280,), f"{name}.bias": (1280,)}
    for number in range(32):
        layer = f"vision_model.encoder.layers.{number}"
        for part in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{part}.weight": (1280,), f"{layer}.{part}.bias": (1280,)}
        for part, out, into in (("fc1", 5120, 1280), ("fc2", 1280, 5120)):
            name = f"{layer}.mlp.{part}"
            shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}.self_attn.{part}.weight"] = (1280, 1280)
            shapes[f"{layer}.self_attn.{part}.bias"] = (1280,)
    shapes |= {
        "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, 1280),
        "visual_projection.weight": (1024, 1280),
    }
    config = encoder_config(encoder_of(Header(shapes=shapes)))
    # As laion's ViT-H is published
    assert config == {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 1024,
    }
    for name in shapes:
        grown = (*shapes[name][:-1], shapes[name][-1] + 1)
        with pytest.raises(AdapterUnfitError):
            encoder_of(Header(shapes={**shapes, name: grown}))
        with pytest.raises(AdapterUnfitError):
            encoder_of(Header(shapes={each: shapes[each] for each in shapes if each != name}))
    for patch, places in ((14, 257**2), (200, 256)):
        more = {
            "vision_model.embeddings.patch_embedding.weight": (1280, 3, patch, patch),
            "vision_model.embeddings.position_embedding.weight": (places + 1, 1280),
        }
        with pytest.raises(AdapterUnfitError, match="patches; at most"):
            encoder_of(Header(shapes={**shapes, **more}))
    del shapes["vision_model.encoder.layers.31.self_attn.k_proj.bias"]
    with pytest.raises(AdapterUnfitError, match=r"lacks 'vision_model\.encoder\.layers\.31"):
        encoder_of(Header(shapes=shapes))


@pytest.mark.usefixtures("house")
def test_what_is_none_or_could_do_harm_is_refused(
    published: Path, alone: Path, tmp_path: Path
) -> None:
    pickled = tmp_path / "ip-adapter_sd15.bin"
    pickled.write_bytes(b"\x80\x04")
    code, message = refusal(pickled)
    assert code == "pickled"
    assert "published as .safetensors" in message
    assert refusal(tmp_path / "nothing.safetensors")[0] == "unreadable"
    neon = factories.HOUSE.parent / "adapters" / "neon" / "pytorch_lora_weights.safetensors"
    assert refusal(neon)[0] == "not_an_ip_adapter"
    tensors = load_file(alone)
    save_file({k: v for k, v in tensors.items() if "5.to_v" not in k}, alone)
    assert refusal(alone)[0] == "fits_no_model"
    wide = {
        name: torch.zeros(tensor.shape[0], 768) if "_ip.weight" in name else tensor
        for name, tensor in tensors.items()
    }
    save_file(wide, alone)
    code, message = refusal(alone)
    assert code == "fits_no_model"
    assert "the model's layer is" in message
    face = {"image_proj.norm.weight": torch.zeros(8), "ip_adapter.1.to_k_ip.weight": torch.zeros(8)}
    save_file({**face, "image_proj.proj.0.weight": torch.zeros(8, 8)}, alone)
    assert "FaceID" in refusal(alone)[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": 64}, "another hidden_size"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"num_channels": 4}, "num_channels"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
    ],
)
@pytest.mark.usefixtures("house")
def test_an_encoders_config_is_checked_and_only_its_sizes_are_kept(
    published: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    folder = tmp_path / "image_encoder"
    shutil.copytree(published / "image_encoder", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InvalidInputError) as caught:
        encoder(folder)
    assert says in caught.value.problems[0].message
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"x": "os.system"}}))
    kept = encoder(folder).files.get(path="config.json")
    with storage.open_object(kept.storage_key) as stored:
        said = json.loads(stored.read())
    assert "auto_map" not in said
    assert said["num_attention_heads"] == config["num_attention_heads"]


@pytest.mark.usefixtures("house")
def test_another_organizations_encoder_is_not_taken(
    published: Path, alone: Path, organization_a: Organization, organization_b: Organization
) -> None:
    encoder(published / "image_encoder", organization_b.pk)
    with pytest.raises(InvalidInputError) as caught:
        register(alone, organization_a.pk)
    assert caught.value.problems[0].code == "needs_image_encoder"
    encoder(published / "image_encoder", organization_a.pk)
    version = register(alone, organization_a.pk)
    with organization_scope(organization_b.pk):
        assert not ModelVersion.objects.filter(pk=version.pk).exists()


@pytest.mark.usefixtures("house")
def test_the_command_takes_the_folder_beside_it(
    published: Path, organization_a: Organization
) -> None:
    said = StringIO()
    path = str(published / "ip_adapter.safetensors")
    call_command(
        "register_ip_adapter", path, name="Ours", organization=organization_a.pk, stdout=said
    )
    assert "Ours is in the library: version 1, sd15" in said.getvalue()
    with organization_scope(organization_a.pk):
        assert [found.asset.name for found in usable_ip_adapters()] == ["Ours"]
    with pytest.raises(CommandError, match="no file"):
        call_command("register_ip_adapter", "/nowhere.safetensors", name="None", public=True)
