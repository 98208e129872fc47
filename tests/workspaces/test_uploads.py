"""Pictures that people bring: untrusted bytes become a plain upright PNG, or a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from accounts.actors import Actor
from accounts.models import AuditEvent
from studio.core import storage
from studio.core.errors import BusyError, ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope
from tests import factories
from workspaces import decoding
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace
from workspaces.services import uploads
from workspaces.services.artifacts import read_all
from workspaces.services.uploads import SIDE_MAX, add_upload, as_png

pytestmark = pytest.mark.django_db
RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture(autouse=True)
def _in_a(workspace: Workspace) -> Iterator[None]:
    with organization_scope(workspace.organization_id):
        yield


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A few bytes that claim to be an enormous picture."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\x00" * 10_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def read_picture(content: bytes) -> Image.Image:
    """The picture as it would be stored."""
    decoded = as_png(content)
    picture = Image.open(io.BytesIO(decoded.content))
    assert picture.size == decoded.size
    assert not picture.info
    return picture


def read_mask(content: bytes) -> Image.Image | None:
    """Where the picture is transparent, as it would be stored."""
    mask = as_png(content).mask
    if mask is None:
        return None
    picture = Image.open(io.BytesIO(mask))
    assert (picture.mode, picture.info) == ("L", {})
    return picture


def refusal_of(content: bytes) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_picture(content)
    (problem,) = caught.value.problems
    assert problem.field == "image"
    return problem.code


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_known_formats_are_read(kind: str) -> None:
    picture = read_picture(encode(Image.new("RGB", (40, 30), RED), kind))
    assert (picture.size, picture.mode) == ((40, 30), "RGB")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda png: b"", "empty"),
        (lambda png: b"only some text", "broken"),
        (lambda png: png[: len(png) // 2], "broken"),
        (lambda png: png[:40] + b"\x00" * 20 + png[60:], "broken"),
        (lambda png: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "broken"),
        (lambda png: encode(Image.new("RGB", (8, 8)), "GIF"), "broken"),
        (lambda png: encode(Image.new("RGB", (8, 8)), "TIFF"), "broken"),
        (lambda png: huge_png(100_000, 100_000), "too_many_pixels"),
        (lambda png: huge_png(SIDE_MAX + 1, 8), "too_many_pixels"),
        (lambda png: huge_png(SIDE_MAX, SIDE_MAX), "too_many_pixels"),
    ],
)
def test_what_is_no_sound_picture_is_refused(spoil: Callable[[bytes], bytes], code: str) -> None:
    noise = Image.effect_noise((64, 64), 90)
    assert refusal_of(spoil(encode(noise, "PNG"))) == code


def test_a_file_that_is_too_large_is_refused_unread(settings: LazySettings) -> None:
    settings.UPLOAD_MAX_BYTES = 100
    assert refusal_of(factories.make_png()) == "too_large"


def test_a_photo_taken_sideways_is_turned_upright() -> None:
    picture = Image.new("RGB", (20, 10), WHITE)
    picture.paste(RED, (0, 0, 5, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    upright = read_picture(encode(picture, "JPEG", exif=exif, quality=95))

    assert upright.size == (10, 20)
    red, green, _blue = upright.getpixel((5, 1))  # type: ignore[misc]  # RGB has three
    assert (red > 200, green < 60) == (True, True)


def test_what_is_transparent_becomes_white() -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert read_picture(encode(picture, "PNG")).getpixel((1, 1)) == WHITE


def test_a_palette_with_transparency_is_flattened() -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([9, 9, 9] + [0] * 765)
    assert read_picture(encode(picture, "PNG", transparency=0)).getpixel((1, 1)) == WHITE


def test_sixteen_bits_of_gray_become_eight() -> None:
    picture = read_picture(encode(Image.new("I;16", (4, 4), 40_000), "PNG"))
    assert (picture.mode, picture.getpixel((1, 1))) == ("RGB", (156, 156, 156))


def test_printers_colors_become_rgb() -> None:
    picture = read_picture(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert (picture.mode, picture.getpixel((1, 1))) == ("RGB", RED)


def test_colors_are_read_by_their_profile_which_is_not_kept() -> None:
    """A profile whose red and blue are swapped, so that nobody can overlook whether it was used."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    content = encode(Image.new("RGB", (4, 4), RED), "PNG", icc_profile=bytes(profile))
    r, _g, b = read_picture(content).getpixel((1, 1))  # type: ignore[misc]  # RGB has three
    assert (r < 20, b > 235) == (True, True)


@pytest.mark.parametrize("profile", [b"", b"junk", b"\x00" * 200, b"x" * 500_000])
def test_a_broken_profile_is_left_out(profile: bytes) -> None:
    content = encode(Image.new("RGB", (4, 4), RED), "PNG", icc_profile=profile)
    assert read_picture(content).getpixel((1, 1)) == RED


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_of_a_film_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, WHITE, (0, 0, 255))]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, _blue = read_picture(content).getpixel((8, 8))  # type: ignore[misc]  # RGB has three
    assert (red > 200, green < 60) == (True, True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_hangs_on_a_picture_is_not_kept(kind: str) -> None:
    """Files that are two things at once: a picture to us, a page or an archive to somebody else."""
    content = encode(Image.new("RGB", (8, 8), RED), kind) + b"<script>alert(1)</script>PK\x03\x04"
    encoded = as_png(content).content
    assert b"script" not in encoded
    assert encoded.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_a_large_block_of_exif_is_dropped(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    encoded = as_png(encode(Image.new("RGB", (8, 8), RED), kind, exif=exif)).content
    assert len(encoded) < 1_000


def test_a_large_unpacked_text_is_refused() -> None:
    info = PngInfo()
    for number in range(80):
        info.add_text(f"t{number}", "x" * 1_000_000, zip=True)
    assert refusal_of(encode(Image.new("RGB", (8, 8)), "PNG", pnginfo=info)) == "broken"


def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A decoder that goes wrong in a way no file at hand makes it go wrong."""
    program = tmp_path / "decoder.py"
    program.write_text(text, encoding="utf-8")
    monkeypatch.setattr(decoding, "__file__", str(program))


@pytest.mark.parametrize(
    "text",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import os; os._exit(3)",
        "import time; time.sleep(60)",
    ],
)
def test_a_decoder_that_dies_or_hangs_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "DECODE_SECONDS", 0.5)
        decoder(tmp_path, patch, text)
        assert refusal_of(factories.make_png()) == "broken"
    assert read_picture(factories.make_png()).size == (64, 64)


def test_the_decoder_has_no_secrets_and_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the real program sets for itself, told by a program that imports it."""
    decoder(
        tmp_path,
        monkeypatch,
        f"""
import json, os, resource, runpy
runpy.run_path({decoding.__file__!r})["_confine"]()
limits = [resource.getrlimit(r)[1] for r in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)]
try:
    bytearray(4 * 1024**3)
    is_bounded = False
except MemoryError:
    is_bounded = True
width = int(limits[1] == 0 and is_bounded and not [n for n in os.environ if n != "LC_CTYPE"])
print(json.dumps(dict(width=width, height=1, picture_bytes=0)))
""",
    )
    assert as_png(b"any").size == (1, 1)


def test_whoever_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "DECODE_SECONDS", 0.1)
    with uploads._decoding, pytest.raises(BusyError):
        as_png(factories.make_png())


SOUND = [
    encode(Image.effect_noise((24, 16), 90).convert(mode), kind)
    for kind, modes in {
        "PNG": ("RGB", "RGBA", "L", "LA", "P", "1"),
        "JPEG": ("RGB", "L", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "AVIF": ("RGB", "RGBA"),
    }.items()
    for mode in modes
] + [
    encode(Image.new("I;16", (4, 4), 40_000), "PNG"),
    encode(Image.new("RGB", (4, 4)), "PNG", icc_profile=b"\x00" * 300),
]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A sound file with some bytes changed, cut out, put in twice or left off."""
    content = bytearray(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        how = draw(st.sampled_from(("set", "cut", "repeat", "end", "big")))
        if how == "set":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif how == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 40))]
        elif how == "end":
            del content[at:]
        else:
            content[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


@hypothesis_settings(max_examples=600, deadline=None)
@given(spoiled() | st.binary(max_size=200))
def test_a_spoiled_file_is_a_picture_or_a_refusal(content: bytes) -> None:
    try:
        picture, mask = decoding.decode(content, pixels_max=1_000_000, side_max=4_000)
    except decoding.RefusedError as error:
        assert error.code in ("broken", "too_many_pixels")
    else:
        assert (picture.mode, picture.info) == ("RGB", {})
        assert picture.width * picture.height <= 1_000_000
        assert mask is None or (mask.mode, mask.size, mask.info) == ("L", picture.size, {})


@hypothesis_settings(max_examples=25, deadline=None)
@given(spoiled())
def test_a_spoiled_upload_is_a_picture_or_a_sentence(content: bytes) -> None:
    try:
        decoded = as_png(content)
    except InvalidInputError as error:
        assert error.problems[0].message.endswith(".")
    else:
        assert Image.open(io.BytesIO(decoded.content)).size == decoded.size


def test_metadata_is_not_kept(bob_in_a: Actor, workspace: Workspace) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    info = PngInfo()
    info.add_text("Comment", "my address")
    picture = Image.new("RGB", (16, 16), RED)

    for content in (encode(picture, "JPEG", exif=exif), encode(picture, "PNG", pnginfo=info)):
        added = add_upload(actor=bob_in_a, workspace=workspace, content=content)
        kept = read_all(added.picture)
        assert b"taken at home" not in kept
        assert b"my address" not in kept
        with Image.open(io.BytesIO(kept)) as again:
            assert not again.getexif()
            assert not again.info


def test_an_upload_is_stored_sealed_and_audited(bob_in_a: Actor, workspace: Workspace) -> None:
    content = factories.make_png("red")
    artifact = add_upload(actor=bob_in_a, workspace=workspace, content=content).picture

    sealed = storage.open_object(artifact.storage_key).read()
    assert (artifact.kind, artifact.status) == (ArtifactKind.INPUT, ArtifactStatus.STORED)
    assert sealed.startswith(b"STU1")
    assert b"PNG" not in sealed
    assert AuditEvent.objects.get(action="upload.added").object_id == artifact.pk


def half_clear(kind: str, mode: str = "RGBA") -> bytes:
    """Red, and transparent in its left half."""
    picture = Image.new("RGBA", (40, 20), (*RED, 255))
    picture.paste((0, 0, 255, 0), (0, 0, 20, 20))
    return encode(picture.convert(mode), kind, lossless=True)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA")])
def test_the_transparent_parts_of_a_picture_are_a_mask(kind: str, mode: str) -> None:
    mask = read_mask(half_clear(kind, mode))
    assert mask is not None
    assert mask.size == (40, 20)
    assert (mask.getpixel((10, 10)), mask.getpixel((30, 10))) == (255, 0)


def test_transparency_by_color_is_a_mask_too() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((2, 3), 0)
    mask = read_mask(encode(picture, "PNG", transparency=0))
    assert mask is not None
    assert mask.getbbox() == (2, 3, 3, 4)


def test_a_picture_that_is_nowhere_transparent_has_no_mask() -> None:
    for picture in (Image.new("RGB", (8, 8)), Image.new("RGBA", (8, 8), (1, 2, 3, 255))):
        assert read_mask(encode(picture, "PNG")) is None


def test_a_mask_is_stored_beside_its_picture_and_both_are_audited(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    content = half_clear("PNG")
    added = add_upload(actor=bob_in_a, workspace=workspace, content=content)
    assert added.mask is not None
    assert (added.mask.width, added.mask.height) == (40, 20)
    assert Image.open(io.BytesIO(read_all(added.mask))).getpixel((0, 0)) == 255
    events = AuditEvent.objects.filter(action="upload.added").values_list("object_id", flat=True)
    assert set(events) == {added.picture.pk, added.mask.pk}

    again = add_upload(actor=bob_in_a, workspace=workspace, content=content)
    assert (again.picture, again.mask) == (added.picture, added.mask)


def test_a_viewer_may_not_upload(victor_in_a: Actor, workspace: Workspace) -> None:
    with pytest.raises(ForbiddenError):
        add_upload(actor=victor_in_a, workspace=workspace, content=factories.make_png())
    assert not Artifact.objects.exists()
