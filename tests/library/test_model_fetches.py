"""Files that are fetched from the web over a line that breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from accounts.actors import Actor
from accounts.models import User
from accounts.roles import Role
from library.models import ModelUpload, UploadState
from library.services import importing, upload_store
from library.services.importing import fetch_upload
from library.services.uploads import begin_fetch
from library.uploads import Details
from studio.core.scoping import organization_scope, system_scope
from tests.core.test_fetching import open_guard
from tests.core.web import Parts, site

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder")]
PIECE = 64 * 1024
BODY = bytes(n * n % 251 for n in range(5 * PIECE + 100))
DETAILS = Details(name="Neon", licence="CC0", description="", trigger_words=())


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, tmp_path: Path) -> None:
    monkeypatch.setattr(upload_store, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(importing, "PAUSE_SECONDS", 0.01)
    settings.WORK_FOLDER = str(tmp_path / "work")


@pytest.fixture
def ada(alice: User) -> Iterator[Actor]:
    """An owner of A, at work there."""
    with system_scope():
        organization = alice.memberships.get().organization
    with organization_scope(organization.pk):
        yield Actor.of(alice.pk, organization.pk, Role.OWNER)


def fetched_from(parts: Parts, ada: Actor) -> tuple[ModelUpload, list[str]]:
    """The upload after it, and the parts that were asked for."""
    with site(parts) as there:
        parts.heard = there.asked
        upload = begin_fetch(actor=ada, address=there.url(), details=DETAILS)
        with system_scope():
            fetch_upload(upload.pk, guard=open_guard())
        lines = [line for asked in there.asked for line in asked.decode().split("\r\n")]
    asked_for = [line.removeprefix("Range: ") for line in lines if line.startswith("Range: ")]
    return ModelUpload.objects.get(pk=upload.pk), asked_for


def arrived(upload: ModelUpload) -> bytes:
    return b"".join(upload_store._pieces(upload))


def test_a_line_that_breaks_is_taken_up_where_it_broke(ada: Actor) -> None:
    # Each line brings two pieces and a half: the half comes again.
    upload, asked_for = fetched_from(Parts(BODY, breaks_after=PIECE * 5 // 2), ada)
    assert upload.state == UploadState.CHECKING.value
    assert asked_for == [f"bytes={2 * PIECE}-", f"bytes={4 * PIECE}-"]
    assert (upload.received_bytes, upload.size_bytes) == (len(BODY), len(BODY))
    assert arrived(upload) == BODY


def test_a_line_that_brings_nothing_more_is_given_up(ada: Actor) -> None:
    upload, asked_for = fetched_from(Parts(BODY, breaks_after=PIECE // 2), ada)
    assert (upload.state, asked_for) == (UploadState.FAILED.value, [])  # not one piece came

    def worse(parts: Parts) -> None:
        parts.breaks_after = 10

    upload, asked_for = fetched_from(Parts(BODY, breaks_after=PIECE * 2, after=worse), ada)
    assert (upload.state, upload.problem["code"]) == (UploadState.FAILED.value, "unreachable")
    assert asked_for == [f"bytes={2 * PIECE}-"] * importing.TRIES


@pytest.mark.parametrize("is_careless", [False, True])
def test_a_file_that_changed_meanwhile_comes_from_its_start(ada: Actor, is_careless: bool) -> None:
    newer = BODY[::-1]

    def changed(parts: Parts) -> None:
        parts.body, parts.tag, parts.breaks_after = newer, '"two"', len(newer)

    parts = Parts(BODY, breaks_after=PIECE * 3, after=changed, is_careless=is_careless)
    upload, asked_for = fetched_from(parts, ada)
    assert (upload.state, asked_for) == (UploadState.CHECKING.value, [f"bytes={3 * PIECE}-"])
    assert upload.received_bytes == len(newer)
    assert arrived(upload) == newer


@pytest.mark.parametrize("tag", ['W/"weak"', ""])
def test_without_a_strong_tag_two_halves_are_never_put_together(ada: Actor, tag: str) -> None:
    upload, asked_for = fetched_from(Parts(BODY, breaks_after=PIECE * 2, tag=tag), ada)
    assert (upload.state, asked_for) == (UploadState.FAILED.value, [])
