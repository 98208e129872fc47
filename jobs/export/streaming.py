"""Sending an export: each piece is made in one of few threads of its own, then the way is free.

The threads that answer people are not held, and a slow line holds nothing: the next piece is made
when the one before has left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import StreamingHttpResponse
from django.utils import timezone

from studio.core.scoping import organization_scope

THREADS_MAX = 2
_team = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="export")


def zip_response(pieces: Iterator[bytes], organization_id: str) -> StreamingHttpResponse:
    """The export as a download whose name says nothing of what is in it."""
    response = StreamingHttpResponse(_send(pieces, organization_id), content_type="application/zip")
    name = f"studio-export-{organization_id[-6:].lower()}-{timezone.now():%Y%m%d-%H%M}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


async def _send(pieces: Iterator[bytes], organization_id: str) -> AsyncIterator[bytes]:
    following = sync_to_async(_next, thread_sensitive=False, executor=_team)
    while piece := await following(pieces, organization_id):
        yield piece


def _next(pieces: Iterator[bytes], organization_id: str) -> bytes:
    """Nothing more is an empty piece. The scope does not last from one thread to another."""
    close_old_connections()
    try:
        with organization_scope(organization_id):
            return next(pieces, b"")
    finally:
        close_old_connections()
