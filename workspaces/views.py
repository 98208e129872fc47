"""Delivery of stored bytes."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from accounts.http import public
from gpuagent.protocol.sealing import SealBrokenError
from studio.core import storage
from studio.core.errors import NotFoundError
from studio.core.scoping import organization_scope
from workspaces.models import Artifact, ArtifactStatus
from workspaces.services.artifacts import read_range
from workspaces.signing import is_valid

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})$", re.ASCII)
_WHOLE_BYTES = 1 << 20


@public("the signature in the address is the permission")
@require_safe
def media(request: HttpRequest, organization_id: str, artifact_id: str) -> HttpResponseBase:
    """The bytes of an artifact, whole or a range; the signed address is the proof of access."""
    expires, signature = request.GET.get("e", ""), request.GET.get("s", "")
    if not is_valid(organization_id, artifact_id, expires, signature):
        raise NotFoundError(noun="picture")
    with organization_scope(organization_id):
        artifact = (
            Artifact.objects.select_related("workspace")
            .filter(
                pk=artifact_id,
                status=ArtifactStatus.STORED.value,
                workspace__deleted_at=None,
            )
            .first()
        )
        if artifact is None or not storage.exists(artifact.storage_key):
            raise NotFoundError(noun="picture")
        return deliver(request, artifact, expires=int(expires))


def deliver(
    request: HttpRequest, artifact: Artifact, *, expires: int | None = None, filename: str = ""
) -> HttpResponseBase:
    """Answer with an artifact's bytes; ranges, ETag and private caching."""
    etag = f'"{artifact.sha256}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers={"ETag": etag})
    span = _requested_range(request.headers.get("Range", ""), artifact.size_bytes)
    if span is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{artifact.size_bytes}"})
    start, stop = span
    response = _body(artifact, start, stop)
    if stop - start < artifact.size_bytes:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size_bytes}"
    response["Content-Length"] = str(stop - start)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    # A browser may keep what a signed address gave for as long as the address holds, no longer.
    life = max(0, expires - int(time.time())) if expires is not None else 0
    response["Cache-Control"] = f"private, max-age={life}, immutable" if life else "no-store"
    if filename:
        response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _body(artifact: Artifact, start: int, stop: int) -> HttpResponse | StreamingHttpResponse:
    """Small pictures in one piece; large ones segment by segment, so memory stays flat."""
    try:
        if stop - start <= _WHOLE_BYTES:
            content = b"".join(read_range(artifact, start, stop))
            return HttpResponse(content, content_type=artifact.media_type)
    except (SealBrokenError, FileNotFoundError) as error:
        raise NotFoundError(noun="picture") from error
    return StreamingHttpResponse(_pieces(artifact, start, stop), content_type=artifact.media_type)


async def _pieces(artifact: Artifact, start: int, stop: int) -> AsyncIterator[bytes]:
    """Each segment is read and opened in a thread, so that other requests go on meanwhile."""
    pieces = read_range(artifact, start, stop)
    following = sync_to_async(_next, thread_sensitive=False)
    while piece := await following(pieces):
        yield piece


def _next(pieces: Iterator[bytes]) -> bytes:
    """Nothing more is an empty piece: StopIteration cannot leave a thread."""
    return next(pieces, b"")


def _requested_range(header: str, size: int) -> tuple[int, int] | None:
    """`(start, stop)`; the whole if nothing was asked; None if it cannot be satisfied."""
    if not header:
        return 0, size
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) else None
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    return (start, stop) if start < stop else None
