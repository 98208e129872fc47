"""Pictures that people bring: checked by content, stripped of metadata, sealed."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import BusyError, InvalidInputError
from studio.core.fetching import fetch
from workspaces import decoding
from workspaces.access import find_input, require_in
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace
from workspaces.services.artifacts import read_all, store_bytes

SIDE_MAX = 8_192
DECODE_SECONDS = 60
# A large picture takes about a gigabyte while it is decoded: one at a time in each process.
_decoding = threading.BoundedSemaphore(1)
# Each fetch keeps one of the threads that answer people, for up to twenty seconds.
FETCHES_MAX = 4
FETCHES_MAX_OF_ONE = 2
_fetching: Counter[str] = Counter()
_fetching_lock = threading.Lock()
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A picture as PNG; `mask` (PNG, too) is white where it is transparent, or None."""

    content: bytes
    size: tuple[int, int]
    mask: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What was stored: the picture and, if some of it is transparent, a mask of these parts."""

    picture: Artifact
    mask: Artifact | None


def _refusal(
    code: str, message: str, value: object = None, limit: object = None, *, field: str = "image"
) -> InvalidInputError:
    return InvalidInputError(
        [FieldProblem(field=field, code=code, message=message, value=value, limit=limit)]
    )


def _broken() -> InvalidInputError:
    message = "The picture cannot be read: it is damaged, or not a PNG, JPEG, WebP or AVIF."
    return _refusal("broken", message)


def _too_many_pixels(size: list[int] | None) -> InvalidInputError:
    allowed = (
        f"at most {SIDE_MAX} pixels a side and {settings.UPLOAD_MAX_PIXELS // 1_000_000} "
        "megapixels can be added."
    )
    shown = f"The picture is {size[0]} × {size[1]}" if size else "The picture has too many pixels"
    limit = [SIDE_MAX, settings.UPLOAD_MAX_PIXELS]
    return _refusal("too_many_pixels", f"{shown}; {allowed}", size, limit)


def _check_size(size: int) -> None:
    if size == 0:
        raise _refusal("empty", "The file is empty. Choose a PNG, JPEG, WebP or AVIF picture.")
    limit = settings.UPLOAD_MAX_BYTES
    if size > limit:
        mib = f"{size / 1024**2:.0f} MiB; at most {limit // 1024**2} MiB"
        raise _refusal("too_large", f"The file has {mib} can be added.", size, limit)


def content_of(file: object) -> bytes:
    """The bytes of a form's file; what is too large is never read into memory.

    Raises:
        InvalidInputError: there is no file, or it is empty or too large.
    """
    size = (file.size or 0) if isinstance(file, UploadedFile) else 0
    _check_size(size)
    return file.read() if isinstance(file, UploadedFile) else b""


def as_png(content: bytes) -> Decoded:
    """Decode an untrusted picture, in a process of its own, to a plain upright PNG.

    Raises:
        InvalidInputError: empty, too large, of no known format, or broken.
        BusyError: others' pictures are decoded, and that takes long.
    """
    _check_size(len(content))
    limits = (str(settings.UPLOAD_MAX_PIXELS), str(SIDE_MAX))
    answer = run_confined(Path(decoding.__file__), limits, content)
    line, _, encoded = answer.partition(b"\n")
    said = json.loads(line)
    if said.get("refused") == "too_many_pixels":
        raise _too_many_pixels(said["size"])
    if "refused" in said:
        raise _broken()
    end = said["picture_bytes"]
    return Decoded(
        content=encoded[:end],
        size=(said["width"], said["height"]),
        mask=encoded[end:] or None,
    )


def run_confined(
    program: Path,
    arguments: Sequence[str],
    content: bytes,
    *,
    environment: Mapping[str, str] = {},
) -> bytes:
    """What a program of ours makes of a picture, in a process of its own, one at a time.

    Raises:
        InvalidInputError: it makes nothing of it.
        BusyError: others' pictures are in hand, and that takes long.
    """
    if not _decoding.acquire(timeout=DECODE_SECONDS):
        raise BusyError(what="Too many pictures are being added right now.")
    try:
        return _run(program, arguments, content, environment)
    finally:
        _decoding.release()


def _run(
    program: Path, arguments: Sequence[str], content: bytes, environment: Mapping[str, str]
) -> bytes:
    try:
        ended = subprocess.run(  # noqa: S603  # our own program; the picture is its input
            [sys.executable, "-I", "-B", str(program), *arguments],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=dict(environment),
            timeout=DECODE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        logger.warning("%s took longer than %s s", program.stem, DECODE_SECONDS)
        raise _broken() from None
    except subprocess.CalledProcessError as error:
        logger.warning("%s ended with %s", program.stem, error.returncode)
        raise _broken() from None
    return ended.stdout


def add_upload(*, actor: Actor, workspace: Workspace, content: bytes) -> Upload:
    """Store a starting picture as PNG; the same picture again is the same artifact.

    Raises:
        InvalidInputError: the picture is refused; the message says why.
        BusyError: too many are being added.
        StoreFullError: there is no room.
    """
    require_in(actor, workspace, Permission.UPLOAD_CREATE)
    return _add(actor, workspace, content, action="upload.added")


def add_upload_from_address(*, actor: Actor, workspace: Workspace, address: str) -> Upload:
    """Fetch a starting picture from the web; the address is neither kept nor logged.

    Raises:
        InvalidInputError: the address or what lies there is refused; the message says why.
        BusyError: too many are being fetched.
        StoreFullError: there is no room.
    """
    require_in(actor, workspace, Permission.UPLOAD_CREATE)
    if not address.strip():
        raise _refusal("required", "The address is empty. Paste that of a picture.", field="url")
    with _fetching_one(workspace.organization_id):
        fetched = fetch(address, max_bytes=settings.UPLOAD_MAX_BYTES)
    if fetched.media_type in ("text/html", "application/xhtml+xml"):
        message = "There is a page at this address, not a picture. Use the picture's own address."
        raise _refusal("not_a_picture", message, field="url")
    return _add(actor, workspace, fetched.content, action="upload.fetched")


def add_upload_of(*, actor: Actor, picture: Artifact) -> Upload:
    """Make a picture that was made here a starting picture: the same pixels, without its metadata.

    Raises:
        InvalidInputError: too large.
        ForbiddenError: the role may not upload.
    """
    workspace = picture.workspace
    require_in(actor, workspace, Permission.UPLOAD_CREATE)
    _check_size(picture.size_bytes)
    return _add(actor, workspace, read_all(picture), action="upload.reused")


@contextmanager
def _fetching_one(organization_id: str) -> Iterator[None]:
    """One of the few fetches at a time, of which no organization may have all."""
    with _fetching_lock:
        is_full = _fetching.total() >= FETCHES_MAX
        if is_full or _fetching[organization_id] >= FETCHES_MAX_OF_ONE:
            raise BusyError(what="Too many pictures are being fetched right now.")
        _fetching[organization_id] += 1
    try:
        yield
    finally:
        with _fetching_lock:
            _fetching[organization_id] -= 1
            if not _fetching[organization_id]:
                del _fetching[organization_id]


def _add(actor: Actor, workspace: Workspace, content: bytes, *, action: str) -> Upload:
    decoded = as_png(content)
    contents = [decoded.content] if decoded.mask is None else [decoded.content, decoded.mask]
    with transaction.atomic():
        kept = keep_pictures(workspace, contents, decoded.size)
        for artifact in kept:
            record_event(actor, action, artifact.pk, {"workspace": workspace.pk})
    return Upload(picture=kept[0], mask=kept[1] if len(kept) > 1 else None)


def keep_pictures(
    workspace: Workspace, contents: list[bytes], size: tuple[int, int]
) -> list[Artifact]:
    """The stored pictures with these bytes, their time without use begun anew; or new ones."""
    found = [find_input(workspace, hashlib.sha256(content).hexdigest()) for content in contents]
    # In one order for all, as `hold_inputs` does, so that nobody waits for each other.
    known = sorted((artifact for artifact in found if artifact), key=lambda artifact: artifact.pk)
    renewed = {artifact.pk for artifact in known if _renew(artifact)}
    return [
        artifact
        if artifact is not None and artifact.pk in renewed
        else store_bytes(
            workspace,
            content,
            kind=ArtifactKind.INPUT,
            media_type="image/png",
            width=size[0],
            height=size[1],
        )
        for artifact, content in zip(found, contents, strict=True)
    ]


def _renew(artifact: Artifact) -> bool:
    """Let its time without use begin anew; False if it was swept this very moment."""
    kept = Artifact.objects.filter(pk=artifact.pk, status=ArtifactStatus.STORED.value)
    return kept.update(created_at=timezone.now()) == 1
