"""Files out of pixels, and pixels out of files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import (
    THUMBNAIL_SIDE,
    Pixels,
    encode_png,
    encode_thumbnail,
    open_input,
)
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_file(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["plain", "größer", "茶杯 🫖\nsecond line"])
def test_png_carries_pixels_manifest_and_parameters(text: str) -> None:
    pixels = noise(40, 24)
    file = encode_png(pixels, manifest=f'{{"prompt":"{text}"}}', infotext=text)
    assert (file.width, file.height, file.media_type) == (40, 24, "image/png")
    with Image.open(io.BytesIO(file.data)) as picture:
        picture.load()
        assert np.array_equal(np.asarray(picture), pixels)
        assert picture.info[PNG_KEY] == f'{{"prompt":"{text}"}}'
        assert picture.info[INFOTEXT_KEY] == text


def test_same_pixels_and_texts_give_the_same_bytes() -> None:
    files = [encode_png(noise(64, 64), manifest="{}", infotext="x").data for _ in range(2)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 96), (128, 96)), ((1024, 512), (384, 192)), ((8, 2048), (2, 384))]
)
def test_thumbnail_is_small_and_never_larger(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    file = encode_thumbnail(noise(*size))
    assert (file.width, file.height) == expected
    assert max(expected) <= THUMBNAIL_SIDE
    with Image.open(io.BytesIO(file.data)) as picture:
        assert (picture.format, picture.size) == ("WEBP", expected)


def test_starting_picture_is_scaled_to_fill_and_cut() -> None:
    picture = Image.new("RGB", (400, 100), "red")
    picture.paste("blue", (150, 0, 250, 100))
    opened = open_input(as_file(picture), width=64, height=64)
    assert opened.size == (64, 64)
    # The middle 100 of 400 px is what remains of a wide picture in a square.
    assert np.asarray(opened)[:, 4:60].mean((0, 1)).tolist() == pytest.approx([0, 0, 255], abs=2)


def test_starting_picture_is_turned_upright() -> None:
    picture = Image.new("RGB", (64, 32), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_input(as_file(picture, "JPEG", exif=exif), width=32, height=64)
    assert opened.size == (32, 64)
    assert np.asarray(opened)[:, :, 0].min() > 200


def test_transparency_becomes_white() -> None:
    opened = open_input(as_file(Image.new("RGBA", (64, 64), (0, 0, 0, 0))), width=64, height=64)
    assert np.asarray(opened).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16"])
def test_starting_picture_of_any_mode_is_read(mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    opened = open_input(as_file(Image.new(mode, (64, 64)), kind), width=64, height=64)
    assert opened.mode == "RGB"


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", as_file(Image.new("RGB", (64, 64)))[:60]],
    ids=["empty", "text", "cut off"],
)
def test_broken_starting_picture_is_a_failure_with_a_code(data: bytes) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        open_input(data, width=64, height=64)
    assert caught.value.code is FailureCode.INPUT_UNREADABLE


def test_huge_starting_picture_is_refused_before_it_is_unpacked() -> None:
    data = as_file(Image.new("1", (20_000, 20_000)))
    with pytest.raises(AttemptFailedError) as caught:
        open_input(data, width=64, height=64)
    assert caught.value.code is FailureCode.INPUT_UNREADABLE
