"""A single-file checkpoint taken apart: checked as a whole, then copied into a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from library.single_files import configs, text, unet, vae
from library.single_files.pieces import Piece, UnfitFileError
from library.single_files.vocabulary import WORDS, write_vocabulary
from library.single_files.writing import Part, check_part, write_json, write_part
from library.tensor_files import TensorFile

_GROUPS = 32
_CLIP = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
_SDXL_CLIP = ("conditioner.embedders.0.transformer.text_model.",)
_SDXL_OPEN_CLIP = ("conditioner.embedders.1.model.",)
_INPUTS = frozenset({4, configs.INPAINTING_CHANNELS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that a single file becomes."""

    parts: tuple[Part, ...]
    others: Mapping[str, configs.Config]
    has_second_encoder: bool


def plan_checkpoint(file: TensorFile, family_name: str) -> Checkpoint:
    """What a checkpoint becomes, if all of it is there and fits together.

    Raises:
        UnfitFileError: it is not whole; the text names the first thing that is wrong.
    """
    family = configs.FAMILIES[family_name]
    unet_plan = unet.read_plan(_under(file, unet.PREFIX))
    vae_plan = vae.read_plan(_under(file, vae.PREFIX))
    is_second = unet_plan.added > 0
    first = _prefix(file, _SDXL_CLIP if is_second else _CLIP)
    text_plan = text.read_clip(_under(file, first))
    parts = [
        _unet_part(unet_plan, family),
        _vae_part(vae_plan, family),
        _text_part("text_encoder", first, text_plan, tuple(text.clip_pieces(text_plan))),
    ]
    width = text_plan.width
    if is_second:
        second = text.read_open_clip(_under(file, _SDXL_OPEN_CLIP[0]))
        pieces = tuple(text.open_clip_pieces(second))
        parts.append(_text_part("text_encoder_2", _SDXL_OPEN_CLIP[0], second, pieces))
        width += second.width
    if unet_plan.context != width:
        raise UnfitFileError(
            f"its U-Net reads words of {unet_plan.context} numbers, its text encoder writes {width}"
        )
    for part in parts:
        check_part(file, part)
    return Checkpoint(
        parts=tuple(parts),
        others={
            "model_index.json": configs.model_index(family, unet_plan),
            "scheduler/scheduler_config.json": configs.scheduler_config(family, file.said),
        },
        has_second_encoder=is_second,
    )


def _unet_part(plan: unet.UNetPlan, family: configs.Family) -> Part:
    if plan.in_channels not in _INPUTS:
        raise UnfitFileError(f"its U-Net takes {plan.in_channels} channels; 4 or 9 can be used")
    _divide("U-Net", [level.channels for level in plan.levels], _GROUPS)
    return Part(
        folder="unet",
        file="diffusion_pytorch_model.safetensors",
        config=configs.unet_config(plan, family),
        prefix=unet.PREFIX,
        pieces=tuple(unet.unet_pieces(plan)),
    )


def _vae_part(plan: vae.VaePlan, family: configs.Family) -> Part:
    _divide("VAE", plan.channels, _GROUPS)
    return Part(
        folder="vae",
        file="diffusion_pytorch_model.safetensors",
        config=configs.vae_config(plan, family),
        prefix=vae.PREFIX,
        pieces=tuple(vae.vae_pieces(plan)),
    )


def _text_part(folder: str, prefix: str, plan: text.TextPlan, pieces: tuple[Piece, ...]) -> Part:
    if plan.words != WORDS:
        raise UnfitFileError(f"its text encoder knows {plan.words:,} words; CLIP's knows {WORDS:,}")
    _divide("text encoder", [plan.width], 64)
    config = configs.text_config(plan)
    return Part(
        folder=folder, file="model.safetensors", config=config, prefix=prefix, pieces=pieces
    )


def _divide(part: str, widths: list[int] | tuple[int, ...], by: int) -> None:
    odd = next((width for width in widths if width % by), None)
    if odd is not None:
        raise UnfitFileError(f"its {part} has {odd} channels, which {by} does not divide")


def _under(file: TensorFile, prefix: str) -> dict[str, tuple[int, ...]]:
    return {
        name.removeprefix(prefix): entry.shape
        for name, entry in file.entries.items()
        if name.startswith(prefix)
    }


def _prefix(file: TensorFile, known: tuple[str, ...]) -> str:
    """Of the first text encoder; older files leave a part of it out."""
    words = "embeddings.token_embedding.weight"
    found = next((prefix for prefix in known if prefix + words in file.entries), None)
    if found is None:
        raise UnfitFileError("it has no CLIP text encoder; that of another file cannot be borrowed")
    return found


def write_folder(path: Path, file: TensorFile, checkpoint: Checkpoint, folder: Path) -> None:
    """Write the model folder.

    Raises:
        UnfitFileError: the words of the text encoder are not installed.
        OSError: it cannot be written.
    """
    write_vocabulary(folder / "tokenizer")
    write_json(folder / "tokenizer" / "tokenizer_config.json", configs.tokenizer_config())
    if checkpoint.has_second_encoder:
        write_vocabulary(folder / "tokenizer_2")
        second = configs.tokenizer_config(pad="!")
        write_json(folder / "tokenizer_2" / "tokenizer_config.json", second)
    for name, config in checkpoint.others.items():
        write_json(folder / name, config)
    with path.open("rb") as source:
        for part in checkpoint.parts:
            write_json(folder / part.folder / "config.json", part.config)
            write_part(source, file, part, folder / part.folder / part.file)
