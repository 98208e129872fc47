"""Headers of safetensors files from anybody: sound ones are read, all others refused."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from library.recognition import recognise_file
from library.tensor_files import (
    HEADER_MAX_BYTES,
    BrokenFileError,
    TensorFile,
    read_tensor_file,
)

HOUSE = Path(__file__).resolve().parents[2] / "house"
SOUND: dict[str, Any] = {
    "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
}


def file_of(header: object, data: int = 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def read(content: bytes) -> TensorFile:
    return read_tensor_file(io.BytesIO(content), len(content))


def test_a_sound_header_is_read() -> None:
    file = read(file_of({"__metadata__": {"who": "me"}, **SOUND}))

    assert file.shapes == {"a": (2, 3), "b": ()}
    assert file.said == {"who": "me"}
    assert file.entries["b"].end == len(file_of({"__metadata__": {"who": "me"}, **SOUND}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a safetensors file"),
        (b"\x80\x02}q\x00.", "is not a safetensors file"),
        (b"PK\x03\x04" + bytes(100), "is not a safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "is not a safetensors file"),
        (file_of(b"{}" + b" " * 8), "holds 0 tensors"),
        (file_of(b"[" * 100_000), "broken header"),
        (file_of(b'{"a":' * 50_000), "broken header"),
        (file_of(b"\xff\xfe{}"), "broken header"),
        (file_of([]), "broken header"),
        (file_of({"a": 1}), "cannot be"),
        (file_of({"a": {**SOUND["a"], "shape": [-2, -3]}}, 12), "cannot be"),
        (file_of({"a": {**SOUND["a"], "shape": [2.0, 3]}}, 12), "cannot be"),
        (file_of({"a": {**SOUND["a"], "shape": [True, 6]}}, 12), "cannot be"),
        (file_of({"a": {**SOUND["a"], "shape": [2**80]}}, 12), "cannot be"),
        (file_of({"a": {**SOUND["a"], "shape": [1] * 9}}, 12), "cannot be"),
        (file_of({"a" * 600: SOUND["a"]}, 12), "cannot be"),
        (file_of({"a": {**SOUND["a"], "dtype": "Q4"}}, 12), "is not known"),
        (file_of({"a": {**SOUND["a"], "shape": [2, 4]}}, 12), "another size"),
        (file_of(SOUND, 15), "cut short"),
        (file_of(SOUND, 17), "cut short or has a tail"),
        (file_of({**SOUND, "c": SOUND["a"]}), "overlap"),
        (file_of({"b": SOUND["b"]}), "overlap, or room"),
        (file_of({"__metadata__": [], **SOUND}), "broken header"),
        (
            file_of(b'{"a":' + json.dumps(SOUND["a"]).encode() + b',"a":{}}', 12),
            "broken header",
        ),
    ],
)
def test_what_is_not_sound_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(BrokenFileError, match=says):
        read(content)


def test_a_header_is_bounded_before_it_is_read() -> None:
    class Sparse(io.BytesIO):
        @override
        def read(self, size: int | None = -1, /) -> bytes:
            assert size == 8, "nothing but the length was read"
            return struct.pack("<Q", HEADER_MAX_BYTES + 1)

    with pytest.raises(BrokenFileError, match="at most 32 MiB"):
        read_tensor_file(Sparse(), HEADER_MAX_BYTES * 2)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300)
    | st.builds(
        file_of,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        ),
    )
)
def test_whatever_comes_is_read_or_refused(content: bytes) -> None:
    try:
        file = read(content)
    except BrokenFileError:
        return
    recognise_file(file)


def made_of(*names: str, shape: tuple[int, ...] = (1,)) -> TensorFile:
    """Tensors of one shape; only names tell here."""
    header, at = {}, 0
    size = 2
    for side in shape:
        size *= side
    for name in names:
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return read(file_of(header, at))


BLOCKS = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (
            made_of(BLOCKS, "cond_stage_model.transformer.text_model.x", "first_stage_model.x"),
            "a checkpoint for Stable Diffusion 1.5",
        ),
        (made_of(BLOCKS, "cond_stage_model.model.ln_final.weight"), "Stable Diffusion 2"),
        (made_of(BLOCKS, "conditioner.embedders.1.model.ln_final.weight"), "checkpoint for SDXL"),
        (made_of(BLOCKS, "conditioner.embedders.0.model.ln_final.weight"), "SDXL refiner"),
        (made_of(BLOCKS), "a U-Net alone"),
        (made_of("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"), "Diffusion 3"),
        (made_of("double_blocks.0.img_attn.qkv.weight"), "a checkpoint for Flux"),
        (made_of("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight"), "LoRA for Flux"),
        (
            made_of("lora_unet_x_attn2_to_k.lora_down.weight", shape=(4, 768)),
            "a LoRA for Stable Diffusion 1.5",
        ),
        (
            made_of("unet.mid.attn2.processor.to_k_lora.down.weight", shape=(4, 2_048)),
            "a LoRA for SDXL",
        ),
        (made_of("lora_te2_x.lora_down.weight", shape=(4, 8)), "a LoRA for SDXL"),
        (made_of("lora_unet_x.hada_w1_a"), "a LoHa, LoKr or DoRA"),
        (made_of("<cat>", shape=(2, 768)), "a textual inversion for Stable Diffusion 1.5"),
        (made_of("clip_l", "clip_g", shape=(2, 768)), "a textual inversion for SDXL"),
        (made_of("control_model.input_hint_block.0.weight"), "a ControlNet"),
        (made_of("controlnet_cond_embedding.conv_in.weight"), "a ControlNet"),
        (made_of("first_stage_model.encoder.conv_in.weight", "decoder.conv_in.weight"), "a VAE"),
        (made_of("ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"), "an IP-Adapter"),
        (made_of("body.0.rdb1.conv1.weight"), "an upscaler for ESRGAN"),
        (made_of("body.0.weight", "body.1.weight"), "an upscaler for ESRGAN"),
        (made_of("text_model.embeddings.token_embedding.weight"), "a text encoder alone"),
    ],
)
def test_kind_and_family_are_told_by_the_header(file: TensorFile, says: str) -> None:
    found = recognise_file(file)
    assert found is not None
    assert says in found.said


def test_what_nobody_knows_is_nothing() -> None:
    assert recognise_file(made_of("layers.0.x", "layers.1.x")) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adapters/neon/pytorch_lora_weights.safetensors", "lora"),
        ("adapters/teal/learned_embeds.safetensors", "embedding"),
        ("adapters/canny/diffusion_pytorch_model.safetensors", "controlnet"),
        ("model/vae/diffusion_pytorch_model.safetensors", "vae"),
        ("model/unet/diffusion_pytorch_model.safetensors", "unet"),
    ],
)
def test_the_house_files_are_recognised(name: str, kind: str) -> None:
    path = HOUSE / name
    with path.open("rb") as file:
        found = recognise_file(read_tensor_file(file, path.stat().st_size))
    assert found is not None
    assert found.kind == kind
