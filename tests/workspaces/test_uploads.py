"""Pictures that people bring: untrusted bytes become a plain upright PNG, or a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from accounts.actors import Actor
from accounts.models import AuditEvent
from studio.core import storage
from studio.core.errors import ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope
from tests import factories
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace
from workspaces.services.artifacts import read_all
from workspaces.services.uploads import SIDE_MAX, add_upload, read_picture

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


def test_sixteen_bits_of_gray_become_rgb() -> None:
    assert read_picture(encode(Image.new("I;16", (4, 4), 40_000), "PNG")).mode == "RGB"


def test_metadata_is_not_kept(bob_in_a: Actor, workspace: Workspace) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    info = PngInfo()
    info.add_text("Comment", "my address")
    picture = Image.new("RGB", (16, 16), RED)

    for content in (encode(picture, "JPEG", exif=exif), encode(picture, "PNG", pnginfo=info)):
        kept = read_all(add_upload(actor=bob_in_a, workspace=workspace, content=content))
        assert b"taken at home" not in kept
        assert b"my address" not in kept
        with Image.open(io.BytesIO(kept)) as again:
            assert not again.getexif()
            assert not again.info


def test_an_upload_is_stored_sealed_and_audited(bob_in_a: Actor, workspace: Workspace) -> None:
    artifact = add_upload(actor=bob_in_a, workspace=workspace, content=factories.make_png("red"))

    sealed = storage.open_object(artifact.storage_key).read()
    assert (artifact.kind, artifact.status) == (ArtifactKind.INPUT, ArtifactStatus.STORED)
    assert sealed.startswith(b"STU1")
    assert b"PNG" not in sealed
    assert AuditEvent.objects.get(action="upload.added").object_id == artifact.pk


def test_a_viewer_may_not_upload(victor_in_a: Actor, workspace: Workspace) -> None:
    with pytest.raises(ForbiddenError):
        add_upload(actor=victor_in_a, workspace=workspace, content=factories.make_png())
    assert not Artifact.objects.exists()
