"""A single-file checkpoint becomes the folder that it was made from, to the byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.protocol.recipe import Recipe
from library.recognition import recognise_file
from library.single_files import folder as folders
from library.single_files import text, unet
from library.single_files.pieces import UnfitFileError
from library.single_files.writing import Part, write_part
from library.tensor_files import TensorFile, read_tensor_file
from tests.library.single_file import CLIP, TinyModel, make_tiny_model, renamed, save_folder

PARTS = (
    ("unet", "unet/diffusion_pytorch_model.safetensors"),
    ("vae", "vae/diffusion_pytorch_model.safetensors"),
    ("text_encoder", "text_encoder/model.safetensors"),
)


@pytest.fixture(scope="module")
def tiny() -> TinyModel:
    return make_tiny_model()


@pytest.fixture(scope="module")
def unpacked(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single file taken apart."""
    made = tmp_path_factory.mktemp("single")
    return unpack(tiny.save(made / "tiny.safetensors"), made / "folder")


def read(path: Path) -> TensorFile:
    with path.open("rb") as file:
        return read_tensor_file(file, path.stat().st_size)


def unpack(path: Path, folder: Path) -> Path:
    file = read(path)
    recognised = recognise_file(file)
    assert recognised is not None
    assert (recognised.kind, recognised.advice) == ("checkpoint", "")
    folder.mkdir()
    folders.write_folder(path, file, folders.plan_checkpoint(file, recognised.family), folder)
    return folder


def test_every_tensor_is_there_with_its_bytes(tiny: TinyModel, unpacked: Path) -> None:
    from safetensors.torch import load_file

    for part, name in PARTS:
        loaded, wanted = load_file(unpacked / name), getattr(tiny, part).state_dict()
        assert set(loaded) == set(wanted)
        assert all(loaded[key].equal(wanted[key]) for key in wanted), part


def test_diffusers_own_reading_of_such_files_agrees(tiny: TinyModel, unpacked: Path) -> None:
    # An oracle that shares nothing with our tables.
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
    )
    from safetensors.torch import load_file

    for (part, name), convert in zip(
        PARTS, (convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint), strict=False
    ):
        theirs = convert(dict(tiny.tensors), getattr(tiny, part).config)
        ours = load_file(unpacked / name)
        assert set(ours) == set(theirs)
        assert all(ours[key].equal(theirs[key].reshape(ours[key].shape)) for key in ours), part


def test_the_picture_from_the_single_file_is_that_from_the_folder(
    tiny: TinyModel, unpacked: Path, tmp_path: Path
) -> None:
    folder = save_folder(tiny, tmp_path / "published")
    shutil.copytree(unpacked / "tokenizer", folder / "tokenizer")
    recipe = Recipe(
        model="a" * 64,
        prompt="a red mug (on a table:1.2)",
        negative_prompt="blur",
        num_inference_steps=3,
        width=64,
        height=64,
        seed=7,
        clip_skip=1,
    )

    engine = detect_engine(threads=1)

    pictures = [_picture(StableDiffusion15(f, engine), recipe) for f in (folder, unpacked)]

    assert pictures[0] == pictures[1]
    assert len(set(pictures[0])) > 50, "a picture, not one color"


def _picture(model: StableDiffusion15 | StableDiffusionXL, recipe: Recipe) -> bytes:
    model.bring()
    return model.decode(model.denoise(recipe, 0, model.encode_prompts(recipe))).tobytes()


def test_words_are_those_of_clip(unpacked: Path) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(unpacked / "tokenizer", local_files_only=True)
    # As published with CLIP.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokenizer) == 49_408
    assert "MIT" in (unpacked / "tokenizer" / "LICENSE.txt").read_text() or (
        "Permission is hereby granted" in (unpacked / "tokenizer" / "LICENSE.txt").read_text()
    )


def test_velocity_is_read_from_what_the_file_says(tiny: TinyModel, tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "v.safetensors", **{"modelspec.prediction_type": "v"})
    folder = unpack(path, tmp_path / "folder")
    assert '"prediction_type": "v_prediction"' in (
        folder / "scheduler" / "scheduler_config.json"
    ).read_text(encoding="utf-8")


def test_nine_channels_are_for_inpainting(tmp_path: Path) -> None:
    path = make_tiny_model(in_channels=9).save(tmp_path / "inpaint.safetensors")
    folder = unpack(path, tmp_path / "folder")
    assert "StableDiffusionInpaintPipeline" in (folder / "model_index.json").read_text()
    assert '"in_channels": 9' in (folder / "unet" / "config.json").read_text()


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.pop(name)


def _halved(name: str) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name][: len(tensors[name]) // 2].clone()

    return change


def _cast(name: str) -> Callable[[dict[str, Any]], None]:
    import torch

    def change(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].to(torch.float64)

    return change


ODD = f"{unet.PREFIX}output_blocks.4.1.transformer_blocks.0.attn2.to_v.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without(ODD), f"lacks '{ODD}'"),
        (_halved(ODD), "in this model it would be 64 × 64"),
        (_cast(ODD), "is kept as F64"),
        (_without("first_stage_model.quant_conv.bias"), "lacks 'first_stage_model.quant_conv.bias"),
        (_without(f"{CLIP}encoder.layers.1.mlp.fc2.bias"), "lacks"),
        (_halved(f"{CLIP}embeddings.token_embedding.weight"), "CLIP's knows 49,408"),
        (
            _without(f"{unet.PREFIX}input_blocks.4.0.in_layers.2.weight"),
            "lacks 'model.diffusion_model.input_blocks.4.0",
        ),
    ],
)
def test_what_is_not_whole_is_refused_by_name(
    tiny: TinyModel, tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    tensors = dict(tiny.tensors)
    change(tensors)
    broken = TinyModel(
        unet=tiny.unet, vae=tiny.vae, text_encoder=tiny.text_encoder, tensors=tensors
    )
    file = read(broken.save(tmp_path / "broken.safetensors"))
    with pytest.raises(UnfitFileError, match=says.replace("(", r"\(")):
        folders.plan_checkpoint(file, "sd15")


def test_open_clip_becomes_what_transformers_loads(tmp_path: Path) -> None:
    # SDXL's second encoder: three matrices in one, and a projection that lies the other way.
    import torch
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from safetensors.torch import load_file, save_file
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    width, prefix = 64, "conditioner.embedders.1.model."
    config = CLIPTextConfig(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        projection_dim=96,
        hidden_act="gelu",
    )
    plan = text.TextPlan(words=512, width=64, positions=77, inner=128, layers=2, projection=96)
    torch.manual_seed(1)
    old: dict[str, Any] = {}
    for piece in text.open_clip_pieces(plan):
        if piece.rows is not None:
            old.setdefault(prefix + piece.old, torch.randn(3 * width, *piece.shape[1:]).half())
        else:
            shape = piece.shape[::-1] if piece.is_turned else piece.shape
            old[prefix + piece.old] = torch.randn(shape).half()
    path = tmp_path / "clip.safetensors"
    save_file(old, path)
    file = read(path)
    assert text.read_open_clip({k.removeprefix(prefix): e.shape for k, e in file.entries.items()})
    part = Part(
        folder="text_encoder_2",
        file="model.safetensors",
        config={},
        prefix=prefix,
        pieces=tuple(text.open_clip_pieces(plan)),
    )
    with path.open("rb") as source:
        write_part(source, file, part, tmp_path / "out.safetensors")

    ours = load_file(tmp_path / "out.safetensors")
    model = CLIPTextModelWithProjection(config)
    assert set(ours) == set(model.state_dict())
    theirs = convert_open_clip_checkpoint(model, dict(old), prefix=prefix)
    theirs = {k: v for k, v in theirs.items() if not k.endswith("position_ids")}
    assert set(theirs) == set(ours)
    assert all(ours[key].equal(theirs[key]) for key in ours)


def test_sdxl_has_two_encoders_and_draws(tmp_path: Path) -> None:
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file, save_file

    added = 64 + 6 * 256
    torch.manual_seed(2)
    denoiser = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(64, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=128,
        attention_head_dim=(1, 1, 2),
        transformer_layers_per_block=(1, 2, 3),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=added,
    )
    levels = ((64, 0), (64, 2), (128, 3))
    plan = unet.UNetPlan(
        in_channels=4,
        out_channels=4,
        context=128,
        levels=tuple(unet.Level(channels=width, layers=2, depth=depth) for width, depth in levels),
        middle_depth=3,
        added=added,
    )
    tensors = renamed(denoiser, unet.PREFIX, unet.unet_pieces(plan))
    first, second = "conditioner.embedders.0.transformer.text_model.", folders._SDXL_OPEN_CLIP[0]
    sd15 = make_tiny_model().tensors
    tensors |= {name: tensor for name, tensor in sd15.items() if name.startswith("first_stage")}
    tensors |= {
        first + name.removeprefix(CLIP): tensor
        for name, tensor in sd15.items()
        if name.startswith(CLIP)
    }
    clip = text.TextPlan(words=49_408, width=64, positions=77, inner=96, layers=2, projection=64)
    for piece in text.open_clip_pieces(clip):
        rows = (3 * 64, *piece.shape[1:]) if piece.rows else piece.shape
        tensors.setdefault(second + piece.old, torch.randn(rows) / 8)
    path = tmp_path / "xl.safetensors"
    save_file(tensors, path)

    folder = unpack(path, tmp_path / "folder")

    loaded = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    wanted = denoiser.state_dict()
    assert set(loaded) == set(wanted)
    assert all(loaded[name].equal(wanted[name]) for name in wanted)
    recipe = Recipe(
        model="a" * 64, prompt="a mug", num_inference_steps=2, width=64, height=64, seed=7
    )
    assert len(set(_picture(StableDiffusionXL(folder, detect_engine(threads=1)), recipe))) > 50
