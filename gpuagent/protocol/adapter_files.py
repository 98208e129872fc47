"""What an adapter's file holds and whether it fits a model, from names and shapes alone. Pure.

Three spellings of LoRAs are read: peft's (`unet.….lora_A.weight`), kohya's
(`lora_unet_….lora_down.weight`, with `.alpha`) and that of older diffusers
(`….processor.to_q_lora.down.weight`), and layers under diffusers' names or those of the models'
makers. Other kinds (LoHa, LoKr, DoRA) are refused by their keys.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Protocol

from gpuagent.protocol.flow_names import is_turned, layers_of_flow
from gpuagent.protocol.sgm_names import as_diffusers
from gpuagent.protocol.taxonomy import AssetKind

HEADER_MAX_BYTES = 100_000_000
RANK_MAX = 1_024
VECTORS_MAX = 75
_PAIRS = (
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora_down.weight", ".lora_up.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
)
_PARTS = (
    ("unet.", "unet"),
    ("lora_unet_", "unet"),
    ("diffusion_model.", ""),
    ("transformer.", "transformer"),
    ("lora_transformer_", "transformer"),
    ("text_encoder.", "text_encoder"),
    ("lora_te_", "text_encoder"),
    ("lora_te1_", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("lora_te2_", "text_encoder_2"),
    ("base_model.model.", ""),
)
# Tables of a text encoder: what they are given are numbers of tokens, not values.
_WORDS = "embeddings."
# What an untrusted header can raise, deeply nested JSON included.
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

Shape = tuple[int, ...]
Bases = Mapping[str, Mapping[str, Shape]]


class AdapterUnfitError(ValueError):
    """The file is no such adapter, or none for this model; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Names and shapes of a safetensors file's tensors, and the words that came with them."""

    shapes: Mapping[str, Shape]
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of the model that a LoRA changes; `down`, `up` and `alpha` name tensors.

    With `rows` only these ranges of the rows of `up` are its own, in this order.
    """

    part: str
    module: str
    down: str
    up: str
    alpha: str | None
    rank: int
    rows: tuple[tuple[int, int], ...] = ()


def write_header(header: Header) -> bytes:
    """A header alone, as `read_header` reads it."""
    raw: dict[str, object] = {name: {"shape": shape} for name, shape in header.shapes.items()}
    text = json.dumps({**raw, "__metadata__": dict(header.said)}).encode()
    return struct.pack("<Q", len(text)) + text


class Readable(Protocol):
    """What a header can be read from: any open file of bytes."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer at the end."""


def read_header(file: Readable) -> Header:
    """The header of a safetensors file.

    Raises:
        AdapterUnfitError: it is none.
    """
    prefix = file.read(8)
    size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= size <= HEADER_MAX_BYTES:
        raise AdapterUnfitError("it is not a safetensors file")
    try:
        raw = json.loads(file.read(size))
        said = raw.pop("__metadata__", None) or {}
        shapes = {str(name): tuple(int(n) for n in entry["shape"]) for name, entry in raw.items()}
        return Header(shapes=shapes, said={str(k): str(v) for k, v in said.items()})
    except _BROKEN as error:
        raise AdapterUnfitError("its header is broken") from error


def layers_of(header: Header) -> dict[str, Shape]:
    """The layers of a part of a model that a LoRA could change, by name."""
    suffix = ".weight"
    return {
        bare(name.removesuffix(suffix)): shape
        for name, shape in header.shapes.items()
        if name.endswith(suffix) and len(shape) >= 2
    }


def bare(module: str) -> str:
    """The name of a text encoder's module, as the model itself and newer files have it."""
    return module.removeprefix("text_model.")


def kind_of(header: Header) -> AssetKind:
    """LoRA or embedding.

    Raises:
        AdapterUnfitError: neither.
    """
    if any(name.endswith(down) for name in header.shapes for down, _up in _PAIRS):
        return AssetKind.LORA
    if len(header.shapes) == 1 and len(next(iter(header.shapes.values()))) <= 2:
        return AssetKind.EMBEDDING
    raise AdapterUnfitError("it holds neither a LoRA nor one embedding")


def lora_layers(header: Header, bases: Bases) -> list[Layer]:
    """The layers of a model that the LoRA changes, in the file's order of names.

    Raises:
        AdapterUnfitError: a tensor belongs to no layer, or has another shape than it.
    """
    flat = {
        part: {name.replace(".", "_"): name for name in layers if not name.startswith(_WORDS)}
        for part, layers in bases.items()
    }
    found: list[Layer] = []
    used: set[str] = set()
    for name in sorted(header.shapes):
        pair = next((pair for pair in _PAIRS if name.endswith(pair[0])), None)
        if pair is None:
            continue
        stem = name.removesuffix(pair[0])
        up, alpha = stem + pair[1], stem + ".alpha"
        whole = Layer(
            part="",
            module="",
            down=name,
            up=up,
            alpha=alpha if alpha in header.shapes else None,
            rank=header.shapes[name][0] if header.shapes[name] else 0,
        )
        part, modules, turned = _modules(stem, flat, bases)
        shapes = [bases[part][module] for module in modules]
        _check_shapes(header, whole, shapes)
        used |= {name, up, alpha}
        for module, rows in zip(modules, _rows(shapes, turned=turned), strict=True):
            found.append(replace(whole, part=part, module=module, rows=rows))
    strange = sorted(set(header.shapes) - used)
    if strange:
        raise AdapterUnfitError(f"it holds {strange[0][:80]!r}, which is no part of a plain LoRA")
    if len({(layer.part, layer.module) for layer in found}) < len(found) or not found:
        raise AdapterUnfitError("it holds nothing, or a layer twice")
    return found


def _modules(
    stem: str, flat: Mapping[str, Mapping[str, str]], bases: Bases
) -> tuple[str, list[str], bool]:
    """The part, and the layer that is meant, or those that it is in diffusers; whether the halves
    of its rows are the other way round there.
    """
    prefix, part = next((pair for pair in _PARTS if stem.startswith(pair[0])), ("", ""))
    if part == "unet" and "unet" not in flat:
        part = ""  # kohya's tools say so of every model's
    # Those that name no part are of the one that draws.
    part = part or ("transformer" if "transformer" in flat else "unet")
    name = stem.removeprefix(prefix).replace(".processor.", ".").replace(".", "_")
    if part.startswith("text_encoder"):
        name = name.removeprefix("text_model_")
    known = flat.get(part, {})
    module = known.get(name) or known.get(f"{name}_0") or known.get(as_diffusers(name))
    if module is not None:
        return part, [module], False
    modules = [known.get(layer) for layer in layers_of_flow(name)]
    if not modules or None in modules:
        raise AdapterUnfitError(f"the model has no layer {stem[:120]!r}")
    there = [module for module in modules if module is not None]
    return part, there, is_turned(name, bases[part][there[0]])


def _rows(shapes: Sequence[Shape], *, turned: bool) -> list[tuple[tuple[int, int], ...]]:
    """Which rows of what is one layer in the file belong to each of the model's."""
    if turned:
        rows = shapes[0][0]
        return [((rows // 2, rows), (0, rows // 2))]
    if len(shapes) == 1:
        return [()]
    ends = list(accumulate(shape[0] for shape in shapes))
    return [((end - shape[0], end),) for end, shape in zip(ends, shapes, strict=True)]


def _check_shapes(header: Header, layer: Layer, bases: Sequence[Shape]) -> None:
    """A pair is `[rank, in, …]` and `[out, rank, 1…]`; windows of one pixel may be left out."""
    down, up = header.shapes[layer.down], header.shapes.get(layer.up, ())
    alpha = header.shapes[layer.alpha] if layer.alpha is not None else ()
    base = (sum(shape[0] for shape in bases), *bases[0][1:])
    does_fit = (
        1 <= layer.rank <= RANK_MAX
        and all(_trimmed(down[1:]) == _trimmed(shape[1:]) for shape in bases)
        and up[:2] == (base[0], layer.rank)
        and not _trimmed(up[2:])
        and not _trimmed(alpha)
    )
    if not does_fit:
        raise AdapterUnfitError(
            f"{layer.down[:120]!r} is {_sides(down)}, and the model's layer is {_sides(base)}"
        )


def _trimmed(shape: Shape) -> Shape:
    """Without ones at the end: `[8, 1, 1]` is as `[8]`."""
    end = len(shape)
    while end and shape[end - 1] == 1:
        end -= 1
    return shape[:end]


def _sides(shape: Shape) -> str:
    return " × ".join(map(str, shape)) or "a single number"


def check_embedding(header: Header, bases: Bases) -> str:
    """The name of an embedding's tensor, if it fits the model's text encoder.

    Raises:
        AdapterUnfitError: it does not.
    """
    name, shape = next(iter(header.shapes.items()))
    words = bases.get("text_encoder", {}).get(f"{_WORDS}token_embedding")
    if words is None:
        raise AdapterUnfitError("the model has no text encoder that it could belong to")
    width, count = shape[-1] if shape else 0, shape[0] if len(shape) == 2 else 1
    if width != words[1]:
        raise AdapterUnfitError(f"it is {width} numbers wide, and the model's words are {words[1]}")
    if not 1 <= count <= VECTORS_MAX:
        raise AdapterUnfitError(f"it has {count} vectors; at most {VECTORS_MAX} can be read")
    return name


def check_fit(header: Header, bases: Bases) -> None:
    """Check an adapter of either kind against a model.

    Raises:
        AdapterUnfitError: it does not fit.
    """
    if kind_of(header) is AssetKind.LORA:
        lora_layers(header, bases)
    else:
        check_embedding(header, bases)
