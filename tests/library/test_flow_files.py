"""Single files of Flux and Stable Diffusion 3: taken apart, completed by another, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from accounts.models import Organization
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.flux import Flux
from gpuagent.pipelines.sd3 import StableDiffusion3
from gpuagent.protocol.recipe import Recipe
from library.models import ModelAsset, ModelVersion
from library.recognition import recognise_file
from library.services.files import register_file
from library.services.registration import Description, register_model
from library.single_files import flow, vae
from library.single_files.flow_folder import plan_flow, write_flow
from library.single_files.writing import write_part
from library.tensor_files import TensorFile, read_tensor_file
from studio.core import storage
from studio.core.errors import InvalidInputError
from tests.flow_files import make_flux, make_sd3, published_flux, published_sd3
from tests.gpuagent.tiny_models import save_flux, save_sd3
from tests.library.single_file import renamed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "system")]
Tensors = dict[str, Any]
RECIPE = Recipe(
    model="a" * 64,
    prompt="a red mug",
    num_inference_steps=2,
    width=64,
    height=64,
    seed=7,
    sampler="euler",
)


def read(path: Path) -> TensorFile:
    with path.open("rb") as file:
        return read_tensor_file(file, path.stat().st_size)


def saved(tensors: Tensors, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def refusal(path: Path, organization_id: str | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        register_file(path, Description(name="Refused"), organization_id=organization_id)
    assert not ModelAsset.objects.filter(name="Refused").exists()
    assert caught.value.problems[0].field == "file"
    return caught.value.problems[0].message


def as_an_agent_has_it(version: ModelVersion, folder: Path) -> Path:
    for file in version.files.all():
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with storage.open_object(file.storage_key) as stored:
            target.write_bytes(stored.read())
    return folder


def picture(model: Family) -> bytes:
    model.bring()
    return model.decode(model.denoise(RECIPE, 0, model.encode_prompts(RECIPE))).tobytes()


TRANSFORMERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Tensors], str]] = {
    "sd3": (lambda: make_sd3(is_newer=False), published_sd3, "sd3"),
    "sd3.5": (make_sd3, published_sd3, "sd3"),
    "dev": (make_flux, published_flux, "flux"),
    "schnell": (lambda: make_flux(is_dev=False), published_flux, "flux"),
}


@pytest.mark.parametrize("prefix", flow.PREFIXES)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_alone_is_the_one_that_it_was_made_from(
    tmp_path: Path, name: str, prefix: str
) -> None:
    make, publish, family = TRANSFORMERS[name]
    model = make()
    tensors = {prefix + old: tensor for old, tensor in publish(model).items()}
    path = saved(tensors, tmp_path / "alone.safetensors")
    file = read(path)
    found = recognise_file(file)
    assert found is not None
    assert (found.kind, found.family, found.advice) == ("checkpoint", family, "")
    checkpoint = plan_flow(file, family)
    assert {"vae", "text_encoder", "tokenizer_2"} <= set(checkpoint.lacks)
    write_flow(path, file, checkpoint, tmp_path / "made")
    folder = tmp_path / "made" / "transformer"
    loaded = load_file(folder / "diffusion_pytorch_model.safetensors")
    wanted = model.state_dict()
    assert set(loaded) == set(wanted)
    assert all(loaded[key].equal(wanted[key]) for key in wanted)
    told = json.loads((folder / "config.json").read_text())
    again = type(model).from_pretrained(folder)
    for key in set(told) - {"sample_size", "_class_name"}:
        assert _listed(again.config[key]) == _listed(model.config[key]), key
    scheduler = json.loads((tmp_path / "made/scheduler/scheduler_config.json").read_text())
    assert (scheduler["shift"], scheduler.get("use_dynamic_shifting")) == {
        "dev": (3.0, True),
        "schnell": (1.0, False),
    }.get(name, (3.0, None))


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("is_newer", [False, True])
def test_diffusers_own_reading_of_sd3_agrees(tmp_path: Path, is_newer: bool) -> None:
    # An oracle that shares nothing with our tables.
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    tensors = published_sd3(make_sd3(is_newer=is_newer))
    path = saved(tensors, tmp_path / "alone.safetensors")
    part = plan_flow(read(path), "sd3").parts[0]
    with path.open("rb") as source:
        write_part(source, read(path), part, tmp_path / "ours.safetensors")
    ours = load_file(tmp_path / "ours.safetensors")
    theirs = convert_sd3_transformer_checkpoint_to_diffusers(dict(tensors))
    assert set(ours) == set(theirs)
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_diffusers_own_reading_of_flux_agrees(tmp_path: Path) -> None:
    # It takes Flux's own width for granted: so rows are told apart by their numbers alone.
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    plan = flow.FluxPlan(
        width=3_072, channels=64, words=4_096, pooled=768, doubles=2, singles=2, is_guided=True
    )
    pieces = list(flow.flux_pieces(plan))
    lengths = {piece.old: piece.of if piece.rows else piece.shape[0] for piece in pieces}
    theirs = convert_flux_transformer_checkpoint_to_diffusers(
        {name: torch.arange(length) for name, length in lengths.items()}
    )
    assert set(theirs) == {piece.new for piece in pieces}
    for piece in pieces:
        rows = piece.rows or ((0, piece.shape[0]),)
        assert theirs[piece.new].tolist() == [row for span in rows for row in range(*span)]


def published_vae(folder: Path, prefix: str) -> Tensors:
    from diffusers import AutoencoderKL

    made = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        layers_per_block=2,
        sample_size=1_024,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    made.save_pretrained(folder)
    plan = vae.VaePlan(channels=(32,) * 4, layers=2, latent_channels=16, has_quant=False)
    return renamed(made, prefix, vae.vae_pieces(plan))


def published_clip(folder: Path, name: str, act: str) -> Tensors:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    made = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=49_408,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=1,
            projection_dim=24,
            hidden_act=act,
            bos_token_id=49_406,
            eos_token_id=49_407,
            pad_token_id=49_407,
        )
    )
    made.save_pretrained(folder)
    prefix = f"text_encoders.{name}.transformer."
    tensors = {prefix + key: tensor for key, tensor in made.state_dict().items()}
    return tensors | {f"text_encoders.{name}.logit_scale": torch.tensor(4.6)}


def published_t5(folder: Path) -> Tensors:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=128,
        d_model=72,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    made = T5EncoderModel(config)
    made.save_pretrained(folder)
    prefix = "text_encoders.t5xxl.transformer."
    return {prefix + key: tensor for key, tensor in made.state_dict().items()}


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, Tensors]:
    """A Stable Diffusion 3 as diffusers' folder but for tokenizers, and as one file."""
    torch.manual_seed(9)
    folder, model = tmp_path / "published", make_sd3()
    model.save_pretrained(folder / "transformer")
    tensors = {f"model.diffusion_model.{name}": t for name, t in published_sd3(model).items()}
    tensors |= published_vae(folder / "vae", vae.PREFIX)
    tensors |= published_clip(folder / "text_encoder", "clip_l", "quick_gelu")
    tensors |= published_clip(folder / "text_encoder_2", "clip_g", "gelu")
    tensors |= published_t5(folder / "text_encoder_3")
    return folder, tensors


def lender(
    save: Callable[[Path], None], folder: Path, *, organization_id: str | None = None
) -> ModelVersion:
    save(folder)
    return register_model(folder, Description(name="Lender"), organization_id=organization_id)


def test_a_file_with_everything_draws_as_its_folder(
    whole: tuple[Path, Tensors], tmp_path: Path
) -> None:
    folder, tensors = whole
    path = saved(tensors, tmp_path / "sd3_incl_t5.safetensors")
    assert "it holds T5, but not its words" in refusal(path)
    lends = lender(save_sd3, tmp_path / "lender")
    version = register_file(path, Description(name="Whole"), organization_id=None)
    assert (version.architecture, version.default_width) == ("sd3", 1_024)
    made = as_an_agent_has_it(version, tmp_path / "made")
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"):
        (folder / name).symlink_to(made / name)
    engine = detect_engine(threads=1)
    pictures = [picture(StableDiffusion3(each, engine)) for each in (folder, made)]
    assert pictures[0] == pictures[1]
    assert len(set(pictures[0])) > 50, "a picture, not one color"
    theirs = {file.path: file.sha256 for file in lends.files.all()}
    ours = {file.path: file.sha256 for file in version.files.all()}
    assert {path for path in ours if theirs.get(path) == ours[path]} >= {
        path for path in theirs if path.startswith("tokenizer_3/")
    }
    assert register_file(path, Description(name="Whole"), organization_id=None) == version


def test_one_with_clip_and_without_t5_needs_nobody(
    whole: tuple[Path, Tensors], tmp_path: Path
) -> None:
    _folder, tensors = whole
    kept = {name: each for name, each in tensors.items() if "t5xxl" not in name}
    path = saved(kept, tmp_path / "sd3_incl_clips.safetensors")
    version = register_file(path, Description(name="No T5"), organization_id=None)
    folders = {file.path.split("/")[0] for file in version.files.all()}
    assert "text_encoder_2" in folders
    assert "text_encoder_3" not in folders
    made = as_an_agent_has_it(version, tmp_path / "made")
    assert len(set(picture(StableDiffusion3(made, detect_engine(threads=1))))) > 50


def test_what_a_transformer_alone_lacks_is_lent_without_a_copy(tmp_path: Path) -> None:
    path = saved(published_flux(make_flux()), tmp_path / "flux1.safetensors")
    said = refusal(path)
    assert "flux1.safetensors is a checkpoint for Flux" in said
    assert "it holds no VAE and no text encoders, and no model here can lend them" in said
    lends = lender(save_flux, tmp_path / "lender")
    version = register_file(path, Description(name="Tuned"), organization_id=None)
    assert (version.architecture, version.default_width) == ("flux", 1_024)
    theirs = {file.path: file.sha256 for file in lends.files.all()}
    ours = {file.path: file.sha256 for file in version.files.all()}
    assert set(ours) == set(theirs)
    changed = {name for name in ours if ours[name] != theirs[name]}
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert weights in changed
    assert not {name for name in changed if name.endswith(".safetensors")} - {weights}
    assert version.asset.presets, "as for any Flux"
    # It draws as the lender would with this transformer.
    made = as_an_agent_has_it(version, tmp_path / "made")
    make_flux().save_pretrained(tmp_path / "lender" / "transformer")
    engine = detect_engine(threads=1)
    pictures = [picture(Flux(each, engine)) for each in (tmp_path / "lender", made)]
    assert pictures[0] == pictures[1]
    assert len(set(pictures[0])) > 50


def test_t5_comes_along_where_somebody_has_it(tmp_path: Path) -> None:
    path = saved(published_sd3(make_sd3()), tmp_path / "sd3.5.safetensors")
    lender(lambda folder: save_sd3(folder, has_t5=False), tmp_path / "small")
    first = register_file(path, Description(name="Small"), organization_id=None)
    assert not first.files.filter(path__startswith="text_encoder_3/").exists()
    save_sd3(tmp_path / "large")
    register_model(tmp_path / "large", Description(name="With T5"), organization_id=None)
    second = register_file(path, Description(name="Large"), organization_id=None)
    assert second.files.filter(path__startswith="text_encoder_3/").exists()


def test_nobody_lends_to_another_organization(
    organization_a: Organization, organization_b: Organization, tmp_path: Path
) -> None:
    path = saved(published_flux(make_flux()), tmp_path / "flux1.safetensors")
    lender(save_flux, tmp_path / "lender", organization_id=organization_b.pk)
    for owner in (None, organization_a.pk):
        assert "no model here can lend them" in refusal(path, owner)
    assert register_file(path, Description(name="Own"), organization_id=organization_b.pk)


def test_one_that_reads_other_words_is_no_lender(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        save_flux(folder)
        config = folder / "transformer" / "config.json"
        read = {**json.loads(config.read_text()), "joint_attention_dim": 64}
        config.write_text(json.dumps(read))

    lender(save, tmp_path / "lender")
    path = saved(published_flux(make_flux()), tmp_path / "flux1.safetensors")
    assert "no model here can lend them" in refusal(path)


def _fill(tensors: Tensors) -> None:
    tensors["img_in.weight"] = torch.zeros(128, 384)


def _eight(tensors: Tensors) -> None:
    name = "double_blocks.1.txt_mlp.0.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)


def _short(tensors: Tensors) -> None:
    del tensors["single_blocks.1.linear2.bias"]


def _odd(tensors: Tensors) -> None:
    tensors["double_blocks.0.img_attn.qkv.weight"] = torch.zeros(256, 128)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_fill, "Fill, Depth and Canny models cannot be used"),
        (_eight, "is kept as F8_E4M3; F16, BF16 and F32 are read"),
        (_short, "it lacks 'single_blocks.1.linear2.bias'"),
        (_odd, "is 256 × 128; in this model it would be 384 × 128"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors], None], says: str
) -> None:
    lender(save_flux, tmp_path / "lender")
    tensors = published_flux(make_flux())
    change(tensors)
    assert says in refusal(saved(tensors, tmp_path / "flux1.safetensors"))


def test_encoders_of_another_model_in_the_file_are_refused(
    whole: tuple[Path, Tensors], tmp_path: Path
) -> None:
    _folder, tensors = whole
    name = "text_encoders.clip_g.transformer.text_projection.weight"
    tensors[name] = tensors[name][:12]
    said = refusal(saved(tensors, tmp_path / "odd.safetensors"))
    assert "reads words of 72 and 48 numbers, its text encoders write 72 and 36" in said
