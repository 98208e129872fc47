"""Pictures that people bring: checked by content, stripped of metadata, sealed."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings

from django.conf import settings
from django.db import transaction
from PIL import Image, ImageOps, UnidentifiedImageError

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError
from workspaces.access import find_input, require_in
from workspaces.models import Artifact, ArtifactKind, Workspace
from workspaces.services.artifacts import store_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
SIDE_MAX = 8_192
# A large picture takes about a gigabyte while it is decoded: one at a time in each process.
_decoding = threading.BoundedSemaphore(1)


def _refuse(code: str, message: str, value: object = None, limit: object = None) -> None:
    problem = FieldProblem(field="image", code=code, message=message, value=value, limit=limit)
    raise InvalidInputError([problem])


def read_picture(content: bytes) -> Image.Image:
    """Decode an untrusted picture: upright, RGB, nothing of its metadata.

    Raises:
        InvalidInputError: empty, too large, of no known format, or broken.
    """
    if not content:
        _refuse("empty", "The file is empty. Choose a PNG, JPEG, WebP or AVIF picture.")
    if len(content) > settings.UPLOAD_MAX_BYTES:
        limit = settings.UPLOAD_MAX_BYTES
        mib = f"{len(content) / 1024**2:.0f} MiB; at most {limit // 1024**2} MiB"
        _refuse("too_large", f"The file has {mib} can be added.", len(content), limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(content)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError):
        _refuse(
            "broken", "The picture cannot be read: it is damaged, or not a PNG, JPEG, WebP or AVIF."
        )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _refuse(
            "too_many_pixels", "The picture has too many pixels. Make it smaller and try again."
        )
    raise AssertionError("unreachable")


def _decode(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > settings.UPLOAD_MAX_PIXELS or max(width, height) > SIDE_MAX:
            _refuse(
                "too_many_pixels",
                f"The picture is {width} × {height}; at most {SIDE_MAX} pixels a side and "
                f"{settings.UPLOAD_MAX_PIXELS // 1_000_000} megapixels can be added.",
                [width, height],
                [SIDE_MAX, settings.UPLOAD_MAX_PIXELS],
            )
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return _flatten(upright)


def _flatten(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    ground = Image.new("RGB", rgba.size, "white")
    ground.paste(rgba, mask=rgba.getchannel("A"))
    return ground


def add_upload(*, actor: Actor, workspace: Workspace, content: bytes) -> Artifact:
    """Store a starting picture as PNG; the same picture again is the same artifact.

    Raises:
        InvalidInputError: the picture is refused; the message says why.
        StoreFullError: there is no room.
    """
    require_in(actor, workspace, Permission.UPLOAD_CREATE)
    with _decoding:
        encoded, size = _as_png(content)
    known = find_input(workspace, hashlib.sha256(encoded).hexdigest())
    if known is not None:
        return known
    with transaction.atomic():
        artifact = store_bytes(
            workspace,
            encoded,
            kind=ArtifactKind.INPUT,
            media_type="image/png",
            width=size[0],
            height=size[1],
        )
        record_event(actor, "upload.added", artifact.pk)
    return artifact


def _as_png(content: bytes) -> tuple[bytes, tuple[int, int]]:
    picture = read_picture(content)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=4)
    return encoded.getvalue(), picture.size
