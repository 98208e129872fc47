"""Pixels to files and files to pixels. The same pixels and texts give the same bytes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.frames import PREVIEW_MAX_BYTES
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

THUMBNAIL_SIDE = 384
THUMBNAIL_QUALITY = 82
PNG_LEVEL = 1
PREVIEW_SIDE = 160
PREVIEW_QUALITY = 60
INPUT_PIXELS_MAX = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFile:
    """A picture file; sides in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def encode_png(pixels: Pixels, *, manifest: str, infotext: str) -> EncodedFile:
    """The picture with its manifest and parameters inside."""
    picture = Image.fromarray(pixels)
    texts = PngImagePlugin.PngInfo()
    texts.add_text(PNG_KEY, manifest)
    texts.add_text(INFOTEXT_KEY, infotext)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=texts, compress_level=PNG_LEVEL)
    return EncodedFile(
        data=buffer.getvalue(), media_type="image/png", width=picture.width, height=picture.height
    )


def encode_thumbnail(pixels: Pixels) -> EncodedFile:
    """A small WebP; never larger than the picture."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=THUMBNAIL_QUALITY, method=4)
    return EncodedFile(
        data=buffer.getvalue(), media_type="image/webp", width=picture.width, height=picture.height
    )


def encode_preview(pixels: Pixels) -> bytes:
    """A WebP small enough for a preview frame."""
    picture = Image.fromarray(pixels)
    scale = PREVIEW_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    for quality in (PREVIEW_QUALITY, 30, 5):
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=2)
        if buffer.tell() <= PREVIEW_MAX_BYTES:
            break
    return buffer.getvalue()


def open_picture(data: bytes) -> Image.Image:
    """A starting picture, upright, without transparency, of its own size.

    Raises:
        AttemptFailedError: it is no picture, or far too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
            if picture.width * picture.height > INPUT_PIXELS_MAX:
                raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="too large")
            rgba = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AttemptFailedError(
            FailureCode.INPUT_UNREADABLE, reason=type(error).__name__
        ) from error
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def count_pixels(data: bytes) -> int:
    """How many pixels a picture says it has; 0 if it says nothing that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                return picture.width * picture.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0  # it will be refused when it is opened


def fit(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scaled to fill the size and cut to it; one that has the size is left as it is."""
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def open_input(data: bytes, *, width: int, height: int) -> Image.Image:
    """A starting picture, scaled to fill and cut to the size.

    Raises:
        AttemptFailedError: it is no picture, or far too large.
    """
    return fit(open_picture(data), width, height)
