"""`/media/…`: stored bytes at signed, short-lived addresses."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from PIL import Image

from accounts.models import Organization
from gpuagent.protocol.sealing import SEGMENT_BYTES
from studio.core import storage
from tests import factories
from tests.answers import Answer
from workspaces import signing
from workspaces.models import Artifact, Workspace
from workspaces.signing import media_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def content() -> bytes:
    return factories.make_png("red")


@pytest.fixture
def artifact(workspace: Workspace, content: bytes) -> Artifact:
    return factories.make_input(workspace, content)


def get(client: Client, url: str, **headers: str) -> Answer:
    return client.get(url, headers=headers)


def test_a_signed_address_gives_the_bytes(
    client: Client, artifact: Artifact, content: bytes
) -> None:
    response = get(client, media_url(artifact))

    assert (response.status_code, response.content) == (200, content)
    assert response["Content-Type"] == "image/png"
    assert response["Content-Length"] == str(len(content))
    kept = re.fullmatch(r"private, max-age=(\d+), immutable", response["Cache-Control"])
    assert kept is not None
    assert 0 < int(kept.group(1)) <= settings.MEDIA_URL_SECONDS
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_the_address_stays_the_same_for_a_while(artifact: Artifact) -> None:
    assert media_url(artifact) == media_url(artifact)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.split("?")[0],
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url.replace("e=", "e=9"),
        lambda url: url.replace("e=", "e=-"),
        lambda url: url.replace("&s=", "&s=é"),
        lambda url: url.split("&s=")[0] + "&s=é",
        lambda url: url.split("&s=")[0] + "&s=%ff%00",
        lambda url: url.replace("&s=", "&s=&x="),
        lambda url: url.replace("e=", "e=" + "9" * 5_000),
    ],
)
def test_a_changed_address_is_nothing(
    client: Client, artifact: Artifact, change: Callable[[str], str]
) -> None:
    assert get(client, change(media_url(artifact))).status_code == 404


def test_an_address_of_another_organization_is_nothing(
    client: Client, artifact: Artifact, organization_b: Organization
) -> None:
    url = media_url(artifact).replace(artifact.organization_id, organization_b.pk)
    assert get(client, url).status_code == 404


def test_a_signature_of_the_right_key_for_the_wrong_organization_is_nothing(
    client: Client, artifact: Artifact, organization_b: Organization
) -> None:
    expires = int(time.time()) + 100
    signature = signing._signature(organization_b.pk, artifact.pk, expires)
    url = f"/media/{organization_b.pk}/{artifact.pk}?e={expires}&s={signature}"
    assert get(client, url).status_code == 404


def test_an_address_ends(
    client: Client, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = media_url(artifact)
    later = time.time() + 901
    monkeypatch.setattr("workspaces.signing.time.time", lambda: later)
    assert get(client, url).status_code == 404


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=5-", 5, None),
        ("bytes=-4", -4, None),
        ("bytes=0-999999", 0, None),
        ("bytes=-999999", 0, None),
    ],
)
def test_a_range_gives_that_part(
    client: Client, artifact: Artifact, content: bytes, asked: str, start: int, stop: int | None
) -> None:
    response = get(client, media_url(artifact), Range=asked)

    assert response.content == content[start:stop]
    assert response["Content-Length"] == str(len(response.content))
    is_whole = len(response.content) == len(content)
    assert response.status_code == (200 if is_whole else 206)


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=9-5", "bytes=-0"])
def test_a_range_outside_is_a_416(client: Client, artifact: Artifact, asked: str) -> None:
    response = get(client, media_url(artifact), Range=asked)

    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{artifact.size_bytes}"


@pytest.mark.parametrize(
    "asked", ["items=0-1", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=0-" + "9" * 9_000]
)
def test_a_range_that_cannot_be_read_gives_the_whole(
    client: Client, artifact: Artifact, content: bytes, asked: str
) -> None:
    response = get(client, media_url(artifact), Range=asked)
    assert (response.status_code, response.content) == (200, content)


def test_bytes_that_the_browser_has_are_not_sent_again(client: Client, artifact: Artifact) -> None:
    first = get(client, media_url(artifact))

    again = get(client, media_url(artifact), **{"If-None-Match": first["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_lost_bytes_are_nothing(client: Client, artifact: Artifact) -> None:
    storage.delete(artifact.storage_key)
    assert get(client, media_url(artifact)).status_code == 404


def test_spoiled_bytes_are_never_sent(client: Client, artifact: Artifact) -> None:
    sealed = bytearray(storage.open_object(artifact.storage_key).read())
    sealed[30] ^= 1
    storage.put(artifact.storage_key, bytes(sealed))

    assert get(client, media_url(artifact)).status_code == 404


def test_only_reading_is_possible(client: Client, artifact: Artifact) -> None:
    assert client.post(media_url(artifact)).status_code == 405
    head = client.head(media_url(artifact))
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_a_large_picture_is_streamed_segment_by_segment(workspace: Workspace) -> None:
    def make() -> tuple[Artifact, bytes]:
        file = io.BytesIO()
        Image.effect_noise((1500, 1500), 200).save(file, "PNG", compress_level=0)
        content = file.getvalue()
        return factories.make_input(workspace, content), content

    artifact, content = await database_sync_to_async(make)()
    assert len(content) > 2 * SEGMENT_BYTES

    whole = await AsyncClient().get(media_url(artifact))
    part = await AsyncClient().get(
        media_url(artifact), headers={"Range": f"bytes=7-{2 * SEGMENT_BYTES}"}
    )

    assert isinstance(whole, StreamingHttpResponse)
    assert isinstance(part, StreamingHttpResponse)
    assert whole.is_async
    assert await _joined(whole) == content
    assert (part.status_code, await _joined(part)) == (206, content[7 : 2 * SEGMENT_BYTES + 1])


async def _joined(response: StreamingHttpResponse) -> bytes:
    pieces = [bytes(piece) async for piece in response]
    assert max(map(len, pieces)) <= SEGMENT_BYTES
    return b"".join(pieces)


def test_the_address_says_nothing_of_the_content(artifact: Artifact) -> None:
    parts = urlsplit(media_url(artifact)).path.split("/")
    assert parts == ["", "media", artifact.organization_id, artifact.pk]
