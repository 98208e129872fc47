"""Weights in files of ncnn, turned into safetensors. Pure, and without numpy: bytes are copied.

A `.param` file names the layers, a `.bin` file holds their numbers in the same order: of a
convolution a flag, the weights (as halves under `_HALVES`, padded to four bytes) and the bias; of
a PReLU the slopes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MAGIC = "7767517"
_HALVES = 0x01306B47
_FLOATS = 0
_KERNEL = 9
_RRDB_BLOCK, _RRDB_BESIDE = 15, 6


class NcnnError(ValueError):
    """The files are not those of an upscaler that is known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Numbers as safetensors keeps them: `dtype` is F16 or F32."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    kind: str
    settings: Mapping[str, str]

    def number(self, key: str) -> int:
        return int(self.settings.get(key, "0"))


def convert_upscaler(param: str, weights: bytes) -> tuple[dict[str, object], bytes]:
    """The configuration of the network, and a safetensors file of its weights.

    Raises:
        NcnnError: the files are broken, or of another network.
    """
    try:
        layers = _layers(param)
        groups = list(_groups(layers, weights))
        config = _config(layers, groups)
    except (struct.error, ValueError, IndexError, ZeroDivisionError) as error:
        raise NcnnError("not the ncnn files of a known upscaler") from error
    return config, _safetensors(dict(_named(config, groups)))


def _layers(param: str) -> list[_Layer]:
    magic, _counts, *lines = param.splitlines()
    if magic.strip() != _MAGIC:
        raise ValueError("another format")
    return [_layer(line.split()) for line in lines if line.strip()]


def _layer(words: Sequence[str]) -> _Layer:
    """Kind, name, how many inputs and outputs, their names, then settings as `key=value`."""
    settings = words[4 + int(words[2]) + int(words[3]) :]
    pairs = (setting.partition("=")[::2] for setting in settings)
    return _Layer(kind=words[0], settings=dict(pairs))


def _groups(layers: Sequence[_Layer], weights: bytes) -> Iterator[tuple[Tensor, ...]]:
    """What each layer with numbers has of them, first its weights."""
    at = 0
    for layer in layers:
        outward = layer.number("0")
        if layer.kind == "PReLU":
            yield (_floats(weights, at, outward),)
            at += 4 * outward
        elif layer.kind == "Convolution":
            count, (flag,) = layer.number("6"), struct.unpack_from("<I", weights, at)
            if flag not in (_HALVES, _FLOATS):
                raise ValueError("quantized")
            if layer.number("1") != 3 or layer.number("5") != 1:
                raise ValueError("another kind of convolution")
            size = 2 if flag == _HALVES else 4
            data = weights[at + 4 : at + 4 + size * count]
            shape = (outward, count // outward // _KERNEL, 3, 3)
            at += 4 + -(-size * count // 4) * 4
            yield (
                Tensor(dtype="F16" if size == 2 else "F32", shape=shape, data=data),
                _floats(weights, at, outward),
            )
            at += 4 * outward
    if at != len(weights):
        raise ValueError("cut short, or with a tail")


def _floats(weights: bytes, at: int, count: int) -> Tensor:
    return Tensor(dtype="F32", shape=(count,), data=weights[at : at + 4 * count])


def _config(layers: Sequence[_Layer], groups: Sequence[tuple[Tensor, ...]]) -> dict[str, object]:
    """Of the compact network, which ends in a shuffle, or of RRDBNet, which doubles sides twice."""
    kinds = [layer.kind for layer in layers]
    features = groups[0][0].shape[0]
    if "PixelShuffle" in kinds:
        blocks, rest = divmod(len(groups) - 3, 2)
        config: dict[str, object] = {"network": "compact", "features": features}
    else:
        blocks, rest = divmod(len(groups) - _RRDB_BESIDE, _RRDB_BLOCK)
        growth = groups[1][0].shape[0]
        config = {"network": "rrdb", "features": features, "growth": growth, "ups": 2, "fold": 1}
        if kinds.count("Interp") != 2 or any(len(group) != 2 for group in groups):
            raise ValueError("another network")
    if rest or blocks < 1:
        raise ValueError("another network")
    return {**config, "blocks": blocks}


def _named(
    config: Mapping[str, object], groups: Sequence[tuple[Tensor, ...]]
) -> Iterator[tuple[str, Tensor]]:
    """With the names of the published weights."""
    names = [f"body.{number}" for number in range(len(groups))]
    if config["network"] == "rrdb":
        names = list(_rrdb_names(len(groups)))
    for name, group in zip(names, groups, strict=True):
        for part, tensor in zip(("weight", "bias"), group, strict=False):
            yield f"{name}.{part}", tensor


def _rrdb_names(count: int) -> Iterator[str]:
    """A convolution, blocks of three groups of five, five convolutions."""
    yield "conv_first"
    for number in range(count - _RRDB_BESIDE):
        block, inner = divmod(number, _RRDB_BLOCK)
        yield f"body.{block}.rdb{inner // 5 + 1}.conv{inner % 5 + 1}"
    yield from ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def _safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The length of the header, the header as JSON, the numbers. Floats first: they lie aligned."""
    header: dict[str, object] = {}
    pieces, at = [], 0
    for name in sorted(tensors, key=lambda name: (tensors[name].dtype == "F16", name)):
        tensor = tensors[name]
        end = at + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        pieces.append(tensor.data)
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(pieces)
