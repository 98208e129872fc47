"""A single file of Flux or Stable Diffusion 3 taken apart, as far as it goes.

Most such files hold the transformer alone. What else a model needs is lent by another one of its
family: VAE and text encoders are the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from library.single_files import configs, flow, text, vae
from library.single_files.folder import text_part, under, vae_part
from library.single_files.pieces import Piece, UnfitFileError, shape_of
from library.single_files.t5 import read_t5, t5_pieces
from library.single_files.vocabulary import write_vocabulary
from library.single_files.writing import Part, check_part, write_json, write_part
from library.tensor_files import TensorFile

WEIGHTS = "diffusion_pytorch_model.safetensors"
_VAES = (vae.PREFIX, "vae.")
_CLIP, _OPEN_CLIP, _T5 = (
    f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl")
)
_BLOCKS = {"sd3": "joint_blocks.0.", "flux": "double_blocks.0."}
_ENCODERS: Mapping[str, Mapping[str, str]] = {
    "sd3": {"text_encoder": _CLIP, "text_encoder_2": _OPEN_CLIP, "text_encoder_3": _T5},
    "flux": {"text_encoder": _CLIP, "text_encoder_2": _T5},
}
_OPTIONAL = {"sd3": "text_encoder_3"}
_ENTRY = {
    _CLIP: "text_model.embeddings.token_embedding.weight",
    _OPEN_CLIP: "text_model.embeddings.token_embedding.weight",
    _T5: "shared.weight",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCheckpoint:
    """All that a single file becomes, and the folders that another model must lend, or may.

    `words` and `pooled` are the widths of what text encoders write for it.
    """

    parts: tuple[Part, ...]
    others: Mapping[str, configs.Config]
    lacks: tuple[str, ...]
    welcome: tuple[str, ...]
    words: int
    pooled: int

    @property
    def lacking(self) -> str:
        """What it lacks, as a sentence goes on after *it holds*."""
        names = {"vae": "no VAE", "text_encoder": "no text encoders"}
        said = [name for folder, name in names.items() if folder in self.lacks]
        return " and ".join(said) or "T5, but not its words, which are in no single file"


def plan_flow(file: TensorFile, family: str) -> FlowCheckpoint:
    """What a file becomes, if what is in it is whole and fits together.

    Raises:
        UnfitFileError: it is not; the text names the first thing that is wrong.
    """
    plan, transformer = _transformer(file, family)
    decoder, encoders = _vae(file, family), _encoders(file, family)
    _check_widths(plan, encoders)
    parts = (transformer, *decoder, *encoders)
    for part in parts:
        check_part(file, part)
    lacks: tuple[str, ...] = () if decoder else ("vae",)
    optional = _OPTIONAL.get(family, "")
    if encoders:
        lacks += tuple(tokenizer(part.folder) for part in encoders if part.prefix == _T5)
    else:
        wanted = [folder for folder in _ENCODERS[family] if folder != optional]
        lacks += (*wanted, *map(tokenizer, wanted))
    is_welcome = bool(optional) and not encoders
    is_guided = isinstance(plan, flow.Sd3Plan) or plan.is_guided
    return FlowCheckpoint(
        parts=parts,
        others=configs.flow_configs(family, is_guided=is_guided),
        lacks=lacks,
        welcome=(optional, tokenizer(optional)) if is_welcome else (),
        words=plan.words,
        pooled=plan.pooled,
    )


def tokenizer(encoder: str) -> str:
    """The folder of what cuts words up for a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


def _transformer(file: TensorFile, family: str) -> tuple[flow.FluxPlan | flow.Sd3Plan, Part]:
    first = _BLOCKS[family]
    prefix = next(
        (p for p in flow.PREFIXES if any(name.startswith(p + first) for name in file.entries)), ""
    )
    shapes = under(file, prefix)
    plan: flow.FluxPlan | flow.Sd3Plan
    if family == "sd3":
        plan = flow.read_sd3(shapes)
        pieces = tuple(flow.sd3_pieces(plan))
    else:
        plan = flow.read_flux(shapes)
        pieces = tuple(flow.flux_pieces(plan))
    config = plan.config
    return plan, Part(
        folder="transformer", file=WEIGHTS, config=config, prefix=prefix, pieces=pieces
    )


def _vae(file: TensorFile, family: str) -> tuple[Part, ...]:
    prefix = next((p for p in _VAES if f"{p}decoder.conv_in.weight" in file.entries), None)
    if prefix is None:
        return ()
    plan = vae.read_plan(under(file, prefix), needs_quant=False)
    if plan.latent_channels != flow.LATENTS:
        raise UnfitFileError(f"its VAE has {plan.latent_channels} channels; it would be 16")
    return (vae_part(plan, configs.FAMILIES[family], prefix),)


def _encoders(file: TensorFile, family: str) -> tuple[Part, ...]:
    """Its own, if those that the family cannot do without are all there."""
    folders = _ENCODERS[family]
    there = {
        folder: prefix
        for folder, prefix in folders.items()
        if prefix + _ENTRY[prefix] in file.entries
    }
    if set(folders) - set(there) - {_OPTIONAL.get(family)}:
        return ()
    return tuple(
        _t5_part(file, folder)
        if prefix == _T5
        else _clip_part(file, folder, prefix, is_projected=family == "sd3")
        for folder, prefix in there.items()
    )


def _clip_part(file: TensorFile, folder: str, prefix: str, *, is_projected: bool) -> Part:
    """Without its projection it has the names below `text_model.`, as transformers has them."""
    inner = f"{prefix}text_model."
    plan = text.read_clip(under(file, inner))
    if not is_projected:
        return text_part(folder, inner, plan, tuple(text.clip_pieces(plan)))
    name = "text_projection.weight"
    shape = shape_of(under(file, prefix), name, 2)
    pieces = [
        Piece(old=f"text_model.{piece.old}", new=f"text_model.{piece.new}", shape=piece.shape)
        for piece in text.clip_pieces(plan)
    ]
    pieces.append(Piece(old=name, new=name, shape=(shape[0], plan.width)))
    plan = text.TextPlan(
        words=plan.words,
        width=plan.width,
        positions=plan.positions,
        inner=plan.inner,
        layers=plan.layers,
        projection=shape[0],
    )
    return text_part(folder, prefix, plan, tuple(pieces), is_open=prefix == _OPEN_CLIP)


def _t5_part(file: TensorFile, folder: str) -> Part:
    plan = read_t5(under(file, _T5))
    return Part(
        folder=folder,
        file="model.safetensors",
        config=plan.config,
        prefix=_T5,
        pieces=tuple(t5_pieces(plan)),
    )


def _check_widths(plan: flow.FluxPlan | flow.Sd3Plan, encoders: tuple[Part, ...]) -> None:
    clips = [part.config["projection_dim"] for part in encoders if part.prefix != _T5]
    pooled = sum(width for width in clips if isinstance(width, int))
    words = next((part.config["d_model"] for part in encoders if part.prefix == _T5), plan.words)
    if encoders and (pooled, words) != (plan.pooled, plan.words):
        raise UnfitFileError(
            f"its transformer reads words of {plan.words} and {plan.pooled} numbers, its text "
            f"encoders write {words} and {pooled}"
        )


def write_flow(path: Path, file: TensorFile, checkpoint: FlowCheckpoint, folder: Path) -> None:
    """Write what of the model folder is in the file.

    Raises:
        UnfitFileError: the words of its CLIP are not installed.
        OSError: it cannot be written.
    """
    for name, config in checkpoint.others.items():
        write_json(folder / name, config)
    with path.open("rb") as source:
        for part in checkpoint.parts:
            write_json(folder / part.folder / "config.json", part.config)
            write_part(source, file, part, folder / part.folder / part.file)
            if part.prefix.startswith((_CLIP, _OPEN_CLIP)):
                words = folder / tokenizer(part.folder)
                write_vocabulary(words)
                pad = "!" if part.prefix == _OPEN_CLIP else "<|endoftext|>"
                write_json(words / "tokenizer_config.json", configs.tokenizer_config(pad=pad))
