"""A single file taken apart: checked as a whole, then its bytes copied into a model folder.

No number is ever computed, so nothing is lost: each tensor keeps its type and its bytes. Only
OpenCLIP's projection is turned, which moves its numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from library.single_files import configs, text, unet, vae
from library.single_files.pieces import Piece, UnfitFileError, sides, trimmed
from library.single_files.vocabulary import WORDS, write_vocabulary
from library.tensor_files import FLOATS, WIDTHS, Entry, TensorFile

_COPY_BYTES = 4 << 20
_GROUPS = 32
_CLIP = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
_SDXL_CLIP = ("conditioner.embedders.0.transformer.text_model.",)
_SDXL_OPEN_CLIP = ("conditioner.embedders.1.model.",)
_INPUTS = frozenset({4, configs.INPAINTING_CHANNELS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A folder of the model: its file's name, its configuration, and what goes into it."""

    folder: str
    file: str
    config: configs.Config
    prefix: str
    pieces: tuple[Piece, ...]


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
        _check(file, part)
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


def _check(file: TensorFile, part: Part) -> None:
    missing = [p.old for p in part.pieces if part.prefix + p.old not in file.entries]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnfitFileError(f"it lacks {part.prefix + missing[0]!r}{more}")
    for piece in part.pieces:
        entry = file.entries[part.prefix + piece.old]
        wanted = _whole(piece, entry)
        if trimmed(entry.shape) != trimmed(wanted):
            name, is_now = part.prefix + piece.old, sides(entry.shape)
            raise UnfitFileError(f"{name!r} is {is_now}; in this model it would be {sides(wanted)}")
        if entry.dtype not in FLOATS:
            raise UnfitFileError(
                f"{part.prefix + piece.old!r} is kept as {entry.dtype}; F16, BF16 and F32 are read"
            )


def _whole(piece: Piece, entry: Entry) -> tuple[int, ...]:
    """The shape that the tensor of the single file must have."""
    if piece.rows is not None:
        return (piece.shape[0] * 3, *piece.shape[1:])
    return piece.shape[::-1] if piece.is_turned else piece.shape


def write_folder(path: Path, file: TensorFile, checkpoint: Checkpoint, folder: Path) -> None:
    """Write the model folder.

    Raises:
        UnfitFileError: the words of the text encoder are not installed.
        OSError: it cannot be written.
    """
    write_vocabulary(folder / "tokenizer")
    _write_json(folder / "tokenizer" / "tokenizer_config.json", configs.tokenizer_config())
    if checkpoint.has_second_encoder:
        write_vocabulary(folder / "tokenizer_2")
        second = configs.tokenizer_config(pad="!")
        _write_json(folder / "tokenizer_2" / "tokenizer_config.json", second)
    for name, config in checkpoint.others.items():
        _write_json(folder / name, config)
    with path.open("rb") as source:
        for part in checkpoint.parts:
            _write_json(folder / part.folder / "config.json", part.config)
            _write_part(source, file, part, folder / part.folder / part.file)


def _write_json(path: Path, config: configs.Config) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_part(source: BinaryIO, file: TensorFile, part: Part, target: Path) -> None:
    """Wide types first: so each tensor lies where its type may."""
    entries = {piece.new: file.entries[part.prefix + piece.old] for piece in part.pieces}
    order = sorted(part.pieces, key=lambda p: (-WIDTHS[entries[p.new].dtype], p.new))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for piece in order:
        entry = entries[piece.new]
        size = (entry.end - entry.begin) // (3 if piece.rows else 1)
        offsets = [at, at + size]
        header[piece.new] = {
            "dtype": entry.dtype,
            "shape": piece.shape,
            "data_offsets": offsets,
        }
        at += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with target.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for piece in order:
            for chunk in _bytes_of(source, entries[piece.new], piece):
                out.write(chunk)


def _bytes_of(source: BinaryIO, entry: Entry, piece: Piece) -> Iterator[bytes]:
    size = entry.end - entry.begin
    if piece.is_turned:
        source.seek(entry.begin)
        yield _turned(source.read(size), entry)
        return
    begin, left = entry.begin, size
    if piece.rows is not None:
        left = size // 3
        begin += left * (piece.rows[0] // piece.shape[0])
    source.seek(begin)
    while left:
        chunk = source.read(min(left, _COPY_BYTES))
        if not chunk:
            raise UnfitFileError("it ends too early")
        left -= len(chunk)
        yield chunk


def _turned(data: bytes, entry: Entry) -> bytes:
    """Rows for columns."""
    columns = entry.shape[1]
    numbers = memoryview(data).cast("I" if WIDTHS[entry.dtype] == 4 else "H")
    return b"".join(bytes(numbers[column::columns]) for column in range(columns))
