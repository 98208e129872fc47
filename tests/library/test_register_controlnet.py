"""Registering ControlNets: recognised, checked against the models here, kept as two files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from django.core.management import CommandError, call_command
from safetensors.torch import load, load_file, save_file

from accounts.models import Organization
from gpuagent.pipelines.control import ControlNet
from gpuagent.pipelines.engine import detect_engine
from gpuagent.protocol.taxonomy import ControlKind
from library.fitting import why_unfit
from library.models import ModelAsset, ModelVersion
from library.recognition import recognise_file
from library.selectors import usable_adapters, usable_controls, usable_versions
from library.services.controls import CONFIG, WEIGHTS, register_controlnet
from library.services.files import register_file
from library.services.registration import Description
from library.single_files.control import PREFIX, control_pieces, write_control
from library.single_files.unet import Level, UNetPlan
from library.tensor_files import read_tensor_file
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.library.single_file import make_tiny_model, renamed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "system")]
CANNY = factories.HOUSE.parent / "adapters" / "canny"


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "canny"
    shutil.copytree(CANNY, folder)
    return folder


def register(path: Path, name: str = "Edges", **more: object) -> ModelVersion:
    with system_scope():
        return register_controlnet(
            path,
            Description(name=name),
            organization_id=None,
            **more,  # type: ignore[arg-type]  # settings of the call
        )


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        register(path, "Refused")
    (problem,) = caught.value.problems
    assert not ModelAsset.objects.filter(name="Refused").exists()
    return problem.code, problem.message


@pytest.mark.usefixtures("house")
def test_a_folder_is_kept_as_it_is_and_lists_among_controls_alone() -> None:
    version = register(CANNY)
    assert (version.asset.kind, version.architecture) == ("controlnet", "sd15")
    assert version.trigger_words == ["canny"]
    kept = {file.path: file for file in version.files.all()}
    assert set(kept) == {CONFIG, WEIGHTS}
    for path, file in kept.items():
        with storage.open_object(file.storage_key) as stored:
            assert stored.read() == (CANNY / path).read_bytes()
    assert register(CANNY).pk == version.pk
    both = [ControlKind.CANNY, ControlKind.SCRIBBLE]
    assert register(CANNY, kinds=both).trigger_words == ["canny", "scribble"]
    assert [v.pk for v in usable_controls()] == [version.pk]
    assert version.pk not in {v.pk for v in (*usable_adapters(), *usable_versions())}


def test_it_fits_the_model_it_was_made_for_and_no_other(
    house: ModelVersion, tmp_path: Path
) -> None:
    version = register(CANNY)
    assert why_unfit(version, house) == ""
    folder = factories.make_tiny_folder(tmp_path / "tiny")
    tiny = factories.make_model_version(folder=folder, name="Tiny")
    assert "has a layer" in why_unfit(version, tiny)


@pytest.mark.usefixtures("house")
def test_weights_alone_get_the_config_of_the_unet_they_fit(tmp_path: Path) -> None:
    file = tmp_path / "my_scribble.safetensors"
    shutil.copyfile(CANNY / WEIGHTS, file)
    version = register(file, kinds=[ControlKind.SCRIBBLE])
    assert version.trigger_words == ["scribble"]
    folder = tmp_path / "as-an-agent-has-it"
    folder.mkdir()
    for kept in version.files.all():
        with storage.open_object(kept.storage_key) as stored:
            (folder / kept.path).write_bytes(stored.read())
    made = ControlNet(folder, detect_engine(threads=1)).net
    original = ControlNet(CANNY, detect_engine(threads=1)).net
    torch.manual_seed(0)
    given = {
        "sample": torch.randn(1, 4, 16, 16),
        "timestep": 300,
        "encoder_hidden_states": torch.randn(1, 16, 128),
        "controlnet_cond": torch.rand(1, 3, 128, 128),
    }
    with torch.inference_mode():
        assert torch.equal(
            made(**given).mid_block_res_sample, original(**given).mid_block_res_sample
        )


def first_names(net: ControlNetModel, prefix: str = PREFIX) -> dict[str, torch.Tensor]:
    """Its tensors as the first code of ControlNet calls them."""
    config = net.config
    depths = config.transformer_layers_per_block
    depths = [depths] * len(config.block_out_channels) if isinstance(depths, int) else depths
    levels = [
        Level(
            channels=width,
            layers=config.layers_per_block,
            depth=depth if kind.startswith("CrossAttn") else 0,
        )
        for width, kind, depth in zip(
            config.block_out_channels, config.down_block_types, depths, strict=True
        )
    ]
    plan = UNetPlan(
        in_channels=config.in_channels,
        out_channels=0,
        context=config.cross_attention_dim,
        levels=tuple(levels),
        middle_depth=depths[-1],
        added=config.projection_class_embeddings_input_dim or 0,
    )
    widths = config.conditioning_embedding_out_channels
    inner = [width for pair in pairwise(widths) for width in pair]
    reader = [config.conditioning_channels, widths[0], *inner, config.block_out_channels[0]]
    return renamed(net, prefix, control_pieces(plan, reader))


@pytest.fixture
def tiny(tmp_path: Path) -> ControlNetModel:
    """One for a Stable Diffusion 1.x in miniature, which is in the library."""
    made = make_tiny_model()
    path = made.save(tmp_path / "tiny.safetensors")
    register_file(path, Description(name="Tiny"), organization_id=None)
    torch.manual_seed(3)
    net = ControlNetModel.from_unet(made.unet)
    for parameter in net.parameters():  # those between begin as nothing
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_under_its_first_names_it_is_the_same(
    tiny: ControlNetModel, tmp_path: Path, prefix: str
) -> None:
    file = tmp_path / "control_canny.safetensors"
    save_file(first_names(tiny, prefix), file)
    version = register(file)
    assert (version.asset.kind, version.trigger_words) == ("controlnet", ["canny"])
    kept = {kept.path: kept for kept in version.files.all()}
    with storage.open_object(kept[WEIGHTS].storage_key) as stored:
        loaded = load(stored.read())
    wanted = tiny.state_dict()
    assert set(loaded) == set(wanted)
    assert all(loaded[name].equal(wanted[name]) for name in wanted)
    with storage.open_object(kept[CONFIG].storage_key) as stored:
        ControlNetModel.from_config(json.load(stored)).load_state_dict(loaded)
    assert register_file(file, Description(name="Edges"), organization_id=None) == version


def sdxl_control() -> ControlNetModel:
    torch.manual_seed(2)
    return ControlNetModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=48,
        attention_head_dim=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=72,
    )


def sd15_control() -> ControlNetModel:
    return ControlNetModel.from_unet(make_tiny_model().unet)


@pytest.mark.parametrize("make", [sd15_control, sdxl_control])
def test_diffusers_own_reading_of_such_files_agrees(
    tmp_path: Path, make: Callable[[], ControlNetModel]
) -> None:
    # An oracle that shares nothing with our tables.
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    net = make()
    tensors, path = first_names(net), tmp_path / "control.safetensors"
    save_file(tensors, path)
    with path.open("rb") as source:
        file = read_tensor_file(source, path.stat().st_size)
    found = recognise_file(file)
    assert found is not None
    assert (found.kind, found.advice) == ("controlnet", "")
    write_control(path, file, tmp_path / "ours.safetensors")
    ours = load_file(tmp_path / "ours.safetensors")
    theirs = convert_controlnet_checkpoint(dict(tensors), net.config)
    added = {name for name in ours if name.startswith("add_embedding")}
    assert set(ours) == set(net.state_dict())
    assert set(ours) - added == set(theirs), "diffusers leaves those out of SDXL's"
    assert all(
        ours[name].equal(tensor.reshape(ours[name].shape)) for name, tensor in theirs.items()
    )


@pytest.mark.parametrize(
    "name", ["input_hint_block.4.bias", "zero_convs.1.0.weight", "middle_block_out.0.bias"]
)
def test_one_that_is_not_whole_is_refused_by_name(
    tiny: ControlNetModel, tmp_path: Path, name: str
) -> None:
    tensors = first_names(tiny)
    del tensors[PREFIX + name]
    file = tmp_path / "control.safetensors"
    save_file(tensors, file)
    code, message = refusal(file)
    assert code == "not_a_controlnet"
    assert f"it lacks '{PREFIX}{name}'" in message


@pytest.mark.usefixtures("house")
def test_what_is_none_or_could_do_harm_is_refused(copy: Path, tmp_path: Path) -> None:
    neon = factories.HOUSE.parent / "adapters" / "neon" / "pytorch_lora_weights.safetensors"
    assert refusal(neon)[0] == "not_a_controlnet"
    pickled = tmp_path / "control.pth"
    pickled.write_bytes(b"\x80\x04")
    assert refusal(pickled)[0] == "not_safetensors"
    assert refusal(tmp_path / "nothing.safetensors")[0] == "unreadable"

    (copy / CONFIG).write_text("[" * 5_000)
    assert refusal(copy) == ("unreadable", "config.json is not JSON.")
    config = json.loads((CANNY / CONFIG).read_text())
    (copy / CONFIG).write_text(json.dumps({**config, "_class_name": "os.system"}))
    assert refusal(copy)[0] == "not_a_controlnet"
    (copy / CONFIG).write_text(json.dumps({**config, "block_out_channels": [9_999_999]}))
    assert refusal(copy) == (
        "fits_no_model",
        "config.json says another block_out_channels than the model has.",
    )
    (copy / CONFIG).unlink()
    (copy / CONFIG).symlink_to("/etc/passwd")
    assert refusal(copy)[0] == "unreadable"
    (copy / WEIGHTS).write_bytes((CANNY / WEIGHTS).read_bytes()[:-1])
    assert refusal(copy)[0] == "broken_weights"


@pytest.mark.usefixtures("house")
def test_a_network_of_another_kind_of_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    net = ControlNetModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    net.save_pretrained(tmp_path)
    code, message = refusal(tmp_path)
    assert code == "fits_no_model"
    assert message.startswith("It fits no model here: for House, ")


@pytest.mark.usefixtures("house")
def test_one_layer_of_another_shape_is_enough(copy: Path) -> None:
    tensors = load_file(copy / WEIGHTS)
    name = "mid_block.resnets.0.conv1.weight"
    tensors[name] = tensors[name][:8].contiguous()
    save_file(tensors, copy / WEIGHTS)
    code, message = refusal(copy)
    assert code == "fits_no_model"
    assert name.removesuffix(".weight") in message


@pytest.mark.usefixtures("house")
def test_the_command_registers_for_one_organization(organization_a: Organization) -> None:
    said = StringIO()
    call_command(
        "register_controlnet",
        str(CANNY),
        name="Our edges",
        organization=organization_a.pk,
        kind=["canny"],
        stdout=said,
    )
    assert "maps: canny" in said.getvalue()
    with organization_scope(organization_a.pk):
        assert [v.asset.name for v in usable_controls()] == ["Our edges"]
    with pytest.raises(CommandError, match="no file"):
        call_command("register_controlnet", "/nowhere.safetensors", name="None", public=True)
