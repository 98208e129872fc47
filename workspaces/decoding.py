"""Decodes one untrusted picture: a program of its own, that `uploads` starts for each.

The decoders are large libraries of C fed with whatever somebody sends. Here a hostile file can
end or fill up nothing but this process, which has no environment, no file to write, and bounded
memory and time. Imports nothing of ours.

Reads the file from standard input; writes a line of JSON, then the picture as PNG and, if some of
it is transparent, a PNG that is white there: `{"width", "height", "picture_bytes"}`, or
`{"refused": "broken" | "too_many_pixels", "size": [w, h] | null}`.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import warnings

from PIL import AvifImagePlugin, Image, ImageChops, ImageCms, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
MEMORY_BYTES = 3 * 1024**3
CPU_SECONDS = 60
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread would reserve memory of its own


class RefusedError(Exception):
    """Not a picture that can be added; `size` where it is known."""

    def __init__(self, code: str, size: tuple[int, int] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.size = size


def decode(
    content: bytes, *, pixels_max: int, side_max: int
) -> tuple[Image.Image, Image.Image | None]:
    """The first frame: upright, RGB with the colors of sRGB, and nothing of the metadata. If some
    of it is transparent, where, too: as gray, white where nothing is.

    Raises:
        RefusedError: of no known format, broken, or too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this process has nobody to warn
            return _decode(content, pixels_max, side_max)
    except Image.DecompressionBombError:
        raise RefusedError("too_many_pixels") from None
    except RefusedError:
        raise
    except Exception as error:  # decoders of broken files raise nearly everything
        raise RefusedError("broken") from error


def _decode(
    content: bytes, pixels_max: int, side_max: int
) -> tuple[Image.Image, Image.Image | None]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        width, height = picture.size  # known before any pixel is
        if width * height > pixels_max or max(width, height) > side_max:
            raise RefusedError("too_many_pixels", (width, height))
        picture.load()
        if picture.size != (width, height):
            raise RefusedError("broken")
        profile = picture.info.get("icc_profile")
        ImageOps.exif_transpose(picture, in_place=True)
        plain = _eight_bits(picture)
        return _bare(_flatten(plain, profile)), _transparency(plain)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Sixteen bits of gray become eight: Pillow's own conversion would cut off, not scale."""
    if not picture.mode.startswith("I"):
        return picture
    gray = picture.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    gray.info.pop("transparency", None)  # a gray of sixteen bits, which means nothing any more
    return gray


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _transparency(picture: Image.Image) -> Image.Image | None:
    if not _has_alpha(picture):
        return None
    missing = ImageChops.invert(picture.convert("RGBA").getchannel("A"))
    return _bare(missing) if missing.getbbox() else None


def _flatten(picture: Image.Image, profile: object) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if not _has_alpha(picture):
        return _to_srgb(picture, profile)
    rgba = picture.convert("RGBA")
    ground = Image.new("RGB", rgba.size, "white")
    ground.paste(_to_srgb(rgba.convert("RGB"), profile), mask=rgba.getchannel("A"))
    return ground


def _to_srgb(picture: Image.Image, profile: object) -> Image.Image:
    """By the picture's own color profile where it has one that fits; cameras and printers do."""
    if isinstance(profile, bytes) and picture.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass  # not a profile for such pixels: they are taken as they are
        else:
            return converted or picture.convert("RGB")
    return picture.convert("RGB")


def _bare(picture: Image.Image) -> Image.Image:
    """The pixels alone. `info` would go into the PNG: profiles, comments, resolution."""
    picture.info = {}
    return picture


def _confine() -> None:
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for which, limit in limits.items():
        _soft, hard = resource.getrlimit(which)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(which, (limit, limit))


def main(pixels_max: int, side_max: int) -> None:
    """One picture from standard input to standard output."""
    _confine()
    out = sys.stdout.buffer
    try:
        content = sys.stdin.buffer.read()
        picture, missing = decode(content, pixels_max=pixels_max, side_max=side_max)
    except RefusedError as error:
        out.write(json.dumps({"refused": error.code, "size": error.size}).encode() + b"\n")
        return
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=4)
    said = {"width": picture.width, "height": picture.height, "picture_bytes": encoded.tell()}
    if missing is not None:
        missing.save(encoded, "PNG", compress_level=4)
    out.write(json.dumps(said).encode() + b"\n")
    out.write(encoded.getbuffer())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
