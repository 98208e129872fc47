"""The product's web process with one more address: plain files, the reference of `crypto`.

`python -m benchmarks._serve_files` is the studio, and answers `/plain/NAME` with the file of
that name in the folder `BENCHMARK_FILES`: through the same server, middleware and threads, in
one piece or streamed as a picture of that size would be.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import require_safe

from studio.asgi import application as application  # loads the apps, which the next lines need

settings.ROOT_URLCONF = __name__

from accounts.http import public  # noqa: E402  # needs the loaded apps
from studio.urls import handler404 as handler404  # noqa: E402  # same
from studio.urls import handler500 as handler500  # noqa: E402  # same
from studio.urls import urlpatterns as product  # noqa: E402  # same

PIECE_BYTES = 1 << 20


@public("a benchmark's own files")
@require_safe
def plain(request: HttpRequest, name: str) -> HttpResponseBase:
    """A file as it lies on disk."""
    file = Path(os.environ["BENCHMARK_FILES"]) / name
    size = file.stat().st_size
    if size <= PIECE_BYTES:
        return HttpResponse(file.read_bytes(), content_type="image/png")
    response = StreamingHttpResponse(_pieces(file), content_type="image/png")
    response["Content-Length"] = str(size)
    return response


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        following = sync_to_async(source.read, thread_sensitive=False)
        while piece := await following(PIECE_BYTES):
            yield piece


urlpatterns = [*product, path("plain/<str:name>", plain)]
