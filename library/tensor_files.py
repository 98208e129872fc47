"""The header of a safetensors file, read strictly: what it says must be true of the whole file.

Nothing of the tensors themselves is read. The file may come from anybody: its header is bounded
before it is parsed, and every number in it is checked. Pure.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO

from gpuagent.protocol.adapter_files import Header

HEADER_MAX_BYTES = 32 * 1024 * 1024
TENSORS_MAX = 20_000
NAME_MAX_CHARACTERS = 512
DIMENSIONS_MAX = 8
SAID_MAX = 4_096
FLOATS = frozenset({"F16", "BF16", "F32"})
WIDTHS: Mapping[str, int] = MappingProxyType(
    {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1}
    | {"I16": 2, "U16": 2, "F16": 2, "BF16": 2}
    | {"I32": 4, "U32": 4, "F32": 4}
    | {"I64": 8, "U64": 8, "F64": 8}
)

Shape = tuple[int, ...]


class BrokenFileError(ValueError):
    """The file is no sound safetensors file; the text says why, to go on from its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tensor: where its bytes begin and end, counted from the start of the file."""

    dtype: str
    shape: Shape
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """What a file says of itself: its tensors, and the words that came with them."""

    entries: Mapping[str, Entry]
    said: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Names and shapes alone."""
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def header(self) -> Header:
        """As adapters are checked by."""
        return Header(shapes=self.shapes, said=self.said)


def read_tensor_file(file: BinaryIO, size_bytes: int) -> TensorFile:
    """The header of a file of so many bytes.

    Raises:
        BrokenFileError: it is not sound, or the file is not as long as it says.
    """
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= size_bytes - 8:
        raise BrokenFileError("is not a safetensors file")
    if length > HEADER_MAX_BYTES:
        mib = HEADER_MAX_BYTES // 1024**2
        raise BrokenFileError(f"has a header of {length:,} bytes; at most {mib} MiB are read")
    raw = _parse(file.read(length))
    said = raw.pop("__metadata__", None)
    entries = {name: _entry(name, value, 8 + length) for name, value in raw.items()}
    if not 1 <= len(entries) <= TENSORS_MAX:
        raise BrokenFileError(f"holds {len(entries):,} tensors; 1 to {TENSORS_MAX:,} can be read")
    _check_places(entries, begin=8 + length, end=size_bytes)
    return TensorFile(entries=entries, said=_words(said))


def _parse(text: bytes) -> dict[str, object]:
    try:
        raw = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BrokenFileError("has a broken header") from error
    if not isinstance(raw, dict):
        raise BrokenFileError("has a broken header")
    return raw


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of a name that is there twice, two readers may take different ones."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name twice")
    return made


def _entry(name: str, value: object, data_at: int) -> Entry:
    where = f"describes {name[:80]!r} in a way that cannot be"
    if not isinstance(value, dict) or len(name) > NAME_MAX_CHARACTERS:
        raise BrokenFileError(where)
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise BrokenFileError(f"keeps {name[:80]!r} as {str(dtype)[:20]!r}, which is not known")
    sizes, places = _numbers(shape), _numbers(offsets)
    if sizes is None or places is None or len(sizes) > DIMENSIONS_MAX or len(places) != 2:
        raise BrokenFileError(where)
    if places[1] - places[0] != math.prod(sizes) * WIDTHS[dtype]:
        raise BrokenFileError(f"gives {name[:80]!r} another size than its shape has")
    return Entry(dtype=dtype, shape=sizes, begin=data_at + places[0], end=data_at + places[1])


def _numbers(raw: object) -> Shape | None:
    """Whole numbers that a file can have; `true` is none, though Python takes it for 1."""
    if not isinstance(raw, list):
        return None
    is_sound = all(type(number) is int and 0 <= number < 2**48 for number in raw)
    return tuple(raw) if is_sound else None


def _check_places(entries: Mapping[str, Entry], *, begin: int, end: int) -> None:
    """One after the other to the end of the file: nothing twice, nothing between, no tail."""
    at = begin
    for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != at:
            raise BrokenFileError("has tensors that overlap, or room between them")
        at = entry.end
    if at != end:
        raise BrokenFileError("is cut short or has a tail")


def _words(said: object) -> dict[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or len(said) > SAID_MAX:
        raise BrokenFileError("has a broken header")
    return {str(name): str(value) for name, value in said.items()}
