"""What an adapter's file holds: three spellings read, everything else refused with a reason."""

from __future__ import annotations

import io
import json
import struct

import pytest

from gpuagent.protocol.adapter_files import (
    AdapterUnfitError,
    Bases,
    Header,
    check_fit,
    kind_of,
    layers_of,
    lora_layers,
    read_header,
)
from gpuagent.protocol.taxonomy import AssetKind

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "down_blocks.0.resnets.0.conv1"
TEXT = "encoder.layers.0.self_attn.q_proj"
BASES: Bases = {
    "unet": {QUERY: (8, 8), OUT: (8, 8), CONV: (16, 8, 3, 3)},
    "text_encoder": {TEXT: (6, 6), "embeddings.token_embedding": (100, 6)},
}
FLAT = QUERY.replace(".", "_")
Shape = tuple[int, ...]


def header(**shapes: Shape) -> Header:
    return Header(shapes=shapes)


def pair(down: str, up: str, rank: int = 4) -> dict[str, Shape]:
    return {down: (rank, 8), up: (8, rank)}


@pytest.mark.parametrize(
    ("shapes", "module"),
    [
        (pair(f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"), QUERY),
        (pair(f"unet.{QUERY}.lora_A.default.weight", f"unet.{QUERY}.lora_B.default.weight"), QUERY),
        (pair(f"{QUERY}.lora_A.weight", f"{QUERY}.lora_B.weight"), QUERY),
        (pair(f"lora_unet_{FLAT}.lora_down.weight", f"lora_unet_{FLAT}.lora_up.weight"), QUERY),
        (
            pair(
                f"unet.{QUERY.replace('to_q', 'processor.to_q_lora')}.down.weight",
                f"unet.{QUERY.replace('to_q', 'processor.to_q_lora')}.up.weight",
            ),
            QUERY,
        ),
        (
            pair(
                f"{OUT.replace('to_out.0', 'processor.to_out_lora')}.down.weight",
                f"{OUT.replace('to_out.0', 'processor.to_out_lora')}.up.weight",
            ),
            OUT,
        ),
    ],
)
def test_every_spelling_finds_its_layer(shapes: dict[str, Shape], module: str) -> None:
    (layer,) = lora_layers(header(**shapes), BASES)
    assert (layer.part, layer.module, layer.rank, layer.alpha) == ("unet", module, 4, None)


def test_alpha_and_text_encoder_and_convolutions_are_read() -> None:
    stem = f"lora_te_text_model_{TEXT.replace('.', '_')}"
    shapes: dict[str, Shape] = {
        f"{stem}.lora_down.weight": (2, 6),
        f"{stem}.lora_up.weight": (6, 2),
        f"{stem}.alpha": (),
        f"unet.{CONV}.lora_A.weight": (3, 8, 3, 3),
        f"unet.{CONV}.lora_B.weight": (16, 3, 1, 1),
    }
    text, convolution = lora_layers(header(**shapes), BASES)
    assert (text.part, text.module, text.alpha) == ("text_encoder", TEXT, f"{stem}.alpha")
    assert (convolution.module, convolution.rank) == (CONV, 3)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (pair("unet.nowhere.lora_A.weight", "unet.nowhere.lora_B.weight"), "has no layer"),
        (
            {f"unet.{QUERY}.lora_A.weight": (4, 9), f"unet.{QUERY}.lora_B.weight": (8, 4)},
            "is 4 × 9, and the model's layer is 8 × 8",
        ),
        ({f"unet.{QUERY}.lora_A.weight": (4, 8)}, "is 4 × 8"),
        ({f"unet.{QUERY}.lora_A.weight": (), f"unet.{QUERY}.lora_B.weight": ()}, "single number"),
        (
            {
                **pair(f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"),
                f"unet.{QUERY}.lora_magnitude_vector": (8,),
            },
            "no part of a plain LoRA",
        ),
        (
            {
                **pair(f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight"),
                **pair(f"{QUERY}.lora_A.weight", f"{QUERY}.lora_B.weight"),
            },
            "a layer twice",
        ),
        ({"<teal>": (7,)}, "7 numbers wide, and the model's words are 6"),
        ({"<teal>": (76, 6)}, "76 vectors"),
        ({"<teal>": ()}, "0 numbers wide"),
        ({"a": (6,), "b": (6,)}, "neither a LoRA nor one embedding"),
        ({}, "neither"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(shapes: dict[str, Shape], reason: str) -> None:
    with pytest.raises(AdapterUnfitError, match=reason):
        check_fit(header(**shapes), BASES)


def test_kinds_are_told_apart() -> None:
    lora = pair(f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight")
    assert kind_of(header(**lora)) is AssetKind.LORA
    assert kind_of(Header(shapes={"<teal>": (3, 6)})) is AssetKind.EMBEDDING


def test_layers_of_a_model_are_its_matrices_under_their_own_names() -> None:
    found = layers_of(
        Header(
            shapes={
                f"text_model.{TEXT}.weight": (6, 6),
                f"text_model.{TEXT}.bias": (6,),
                "norm.weight": (6,),
            }
        )
    )
    assert found == {TEXT: (6, 6)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04\x95pickled",
        struct.pack("<Q", 4) + b"[[]]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 21) + b'{"a": {"shape": null}}'[:21],
    ],
)
def test_a_broken_header_is_refused(content: bytes) -> None:
    with pytest.raises(AdapterUnfitError):
        read_header(io.BytesIO(content))


def test_a_header_gives_shapes_and_what_was_said() -> None:
    raw = {
        "__metadata__": {"trigger_words": "neon"},
        "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
    }
    text = json.dumps(raw).encode()
    read = read_header(io.BytesIO(struct.pack("<Q", len(text)) + text))
    assert (read.shapes, read.said) == ({"a": (2, 3)}, {"trigger_words": "neon"})
