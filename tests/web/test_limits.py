"""Bodies: how large, from whom, how slow. Decided before they are read; none touches the disk."""

from __future__ import annotations

import io
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest
from django.test import Client
from PIL import Image

from accounts.http import LargeBody
from accounts.models import Organization, User
from jobs.api.uploads import UploadsView
from studio import limits
from tests import factories
from tests.factories import AgentHandle
from tests.test_route_permissions import ROUTES
from tests.web.conftest import Line, Studio
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
JOBS, UPLOADS, LOGIN = "/api/v1/jobs", "/api/v1/uploads", "/accounts/login/"


def noise(side: int) -> bytes:
    """A PNG of about `side` × `side` × 3 bytes."""
    file = io.BytesIO()
    picture = Image.frombytes("RGB", (side, side), secrets.token_bytes(side * side * 3))
    picture.save(file, "PNG", compress_level=0)
    return file.getvalue()


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def declared(line: Line, path: str, size: int, *lines: str, method: str = "POST") -> int:
    """Announce a body, send none of it, and see what is said to that."""
    line.say(head(path, f"Content-Length: {size}", *lines, method=method))
    return line.status()


@pytest.fixture
def token(bob: User, organization_a: Organization) -> str:
    return f"Bearer {factories.make_token(bob, organization_a)}"


@pytest.fixture
def cookie(bob: User) -> str:
    client = Client()
    client.force_login(bob)
    return f"sessionid={client.cookies['sessionid'].value}"


class Disk:
    """Files that this process opened for writing while `is_watching`."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.is_watching = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_watching and event == "open":
            path, _mode, flags = arguments
            if isinstance(path, str) and flags & (os.O_WRONLY | os.O_RDWR):
                self.written.append(str(path))


@pytest.fixture(scope="module")
def hooked() -> Disk:
    """Audit hooks stay for ever: one for all tests here."""
    return Disk()


@pytest.fixture
def disk(hooked: Disk) -> Iterator[Disk]:
    hooked.written.clear()
    hooked.is_watching = True
    yield hooked
    hooked.is_watching = False


# ------------------------------------------------------------------ how large


@pytest.mark.parametrize("path", [JOBS, LOGIN, "/healthz", "/nothing/here", "/agent/v1/register"])
def test_a_body_of_more_than_a_megabyte_is_refused_before_it_is_sent(
    studio: Studio, path: str
) -> None:
    assert declared(studio.line(), path, MIB + 1) == 413


def test_a_body_of_a_megabyte_is_read(studio: Studio, token: str) -> None:
    body = b'{"prompt": "' + b"x" * (MIB - 14) + b'"}'
    assert len(body) == MIB
    headers = {"Authorization": token, "Content-Type": "application/json"}
    answer = studio.client(**headers).post(JOBS, content=body)
    assert answer.status_code == 404, answer.text  # there is no workspace: it was read


def test_programs_get_a_problem_that_names_both_sizes(studio: Studio, token: str) -> None:
    answer = studio.client(Authorization=token).post(JOBS, content=b" " * (3 * MIB))

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    problem = answer.json()
    assert problem["code"] == "body.too_large"
    assert "3.0 MiB" in problem["detail"]
    assert "1.0 MiB" in problem["detail"]


def test_people_get_a_page_with_the_sentence(studio: Studio) -> None:
    answer = studio.client(Accept="text/html").post(LOGIN, content=b" " * (2 * MIB))

    assert answer.status_code == 413
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "This is too large: 2.0 MiB" in answer.text


def test_bytes_are_counted_where_no_size_was_announced(studio: Studio) -> None:
    line = studio.line()
    line.say(head(JOBS, "Transfer-Encoding: chunked"))
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    for _ in range(5):
        line.say(chunk)
    assert line.status() == 413


def test_who_goes_on_sending_still_comes_to_read_the_answer(studio: Studio) -> None:
    answer = studio.client().post(JOBS, content=b" " * (40 * MIB))
    assert answer.status_code == 413


def test_an_announced_size_of_no_sense_is_no_way_round(studio: Studio) -> None:
    for size in ("-1", "9" * 30, "1e3", "0x10"):
        line = studio.line()
        line.say(head(JOBS, f"Content-Length: {size}") + b"{}")
        assert line.status() in (400, 413), size


# ------------------------------------------------------------------ from whom


def test_a_large_upload_of_nobody_is_refused_unread(studio: Studio, workspace: Workspace) -> None:
    size = 3 * MIB
    for path in (UPLOADS, f"/w/{workspace.pk}/uploads"):
        assert declared(studio.line(), path, size) == 401
        invented = ("Authorization: Bearer stu_invented", "Cookie: sessionid=invented")
        for line in invented:
            assert declared(studio.line(), path, size, line) == 401
    assert declared(studio.line(), "/agent/v1/store/art_x", size, method="PUT") == 401


def test_a_revoked_token_is_nobodys(studio: Studio, bob: User, token: str) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert declared(studio.line(), UPLOADS, 3 * MIB, f"Authorization: {token}") == 401


def test_who_cannot_be_looked_up_is_told_so(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(request: HttpRequest) -> bool:
        raise OperationalError

    monkeypatch.setattr(UploadsView, "large_body", LargeBody(32 * MIB, admits=away))
    line = studio.line()
    assert declared(line, UPLOADS, 3 * MIB) == 503
    assert b"database.away" in line.hear(b"}")


def test_a_session_opens_no_route_of_the_api_and_a_token_no_page(
    studio: Studio, workspace: Workspace, token: str, cookie: str
) -> None:
    assert declared(studio.line(), UPLOADS, 3 * MIB, f"Cookie: {cookie}") == 401
    path = f"/w/{workspace.pk}/uploads"
    assert declared(studio.line(), path, 3 * MIB, f"Authorization: {token}") == 401


def test_a_large_picture_is_taken_with_a_token(
    studio: Studio, workspace: Workspace, token: str
) -> None:
    files = {"image": ("picture.png", noise(1_100), "image/png")}
    answer = studio.client(Authorization=token).post(UPLOADS, files=files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["width"] == 1_100


def test_a_large_picture_is_taken_on_the_page(
    studio: Studio, workspace: Workspace, cookie: str
) -> None:
    browser = studio.client(Cookie=f"{cookie}; csrftoken={'c' * 32}")
    files = {"image": ("picture.png", noise(1_100), "image/png")}
    headers = {"X-CSRFToken": "c" * 32, "Accept": "application/json"}
    answer = browser.post(f"/w/{workspace.pk}/uploads", files=files, headers=headers)
    assert answer.status_code == 201, answer.text


def test_a_picture_of_the_largest_size_reaches_the_check_of_pictures(
    studio: Studio, workspace: Workspace, token: str
) -> None:
    content = b"\x89PNG" + b"x" * (settings.UPLOAD_MAX_BYTES - 4)
    files = {"image": ("picture.png", content, "image/png")}
    answer = studio.client(Authorization=token).post(UPLOADS, files=files)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "broken")


def test_more_than_an_upload_is_refused_to_everybody(studio: Studio, token: str) -> None:
    size = settings.UPLOAD_BODY_MAX_BYTES + 1
    line = studio.line()
    assert declared(line, UPLOADS, size, f"Authorization: {token}") == 413
    assert b"33.0 MiB were sent, and at most 32.0 MiB" in line.hear(b"}")


def test_an_agent_may_send_what_nobody_else_may(
    studio: Studio, agent: AgentHandle, disk: Disk
) -> None:
    answer = studio.client(Authorization=agent.header).put(
        "/agent/v1/store/art_x", content=b"x" * (40 * MIB)
    )
    assert answer.status_code == 409, answer.text  # read, and not expected
    assert not disk.written


# ------------------------------------------------------------------ how slow


def test_slow_bodies_take_no_thread_from_anybody_and_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more slow senders than there are threads
    monkeypatch.setattr(limits, "GRACE_SECONDS", 3.0)
    before = threads()
    lines = [studio.line() for _ in range(60)]
    for line in lines:
        line.say(head(JOBS, "Content-Length: 1000") + b"{")
    # Others are answered, and at once
    began = time.monotonic()
    assert studio.client().get(LOGIN).status_code == 200
    assert time.monotonic() - began < 2.0
    assert threads() - before <= 1
    # And a drop now and then does not help
    for line in lines:
        line.say(b" ")
    assert {line.status() for line in lines} == {408}
    assert "body.too_slow" in lines[0].hear(b"}").decode()


def threads() -> int:
    return sum(thread.name.startswith("request") for thread in threading.enumerate())


def test_a_body_that_keeps_coming_gets_the_time_it_needs(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(limits, "GRACE_SECONDS", 0.4)
    line = studio.line()
    kind = "Content-Type: application/json"
    line.say(head(JOBS, "Content-Length: 60000", kind, f"Authorization: {token}"))
    for _ in range(6):  # 20 KB/s: above the slowest
        line.say(b" " * 10_000)
        time.sleep(0.4)
    assert line.status() == 400  # spaces are no JSON


def test_who_hangs_up_in_the_middle_is_no_error(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    line = studio.line()
    line.say(head(JOBS, "Content-Length: 1000") + b"{")
    line.socket.close()
    assert studio.client().get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# ------------------------------------------------------------------ where it lies


def test_no_part_of_a_picture_touches_the_disk_in_the_clear(
    studio: Studio, workspace: Workspace, token: str, store_folder: Path, disk: Disk
) -> None:
    content = noise(1_100)
    files = {"image": ("picture.png", content, "image/png")}
    answer = studio.client(Authorization=token).post(UPLOADS, files=files)
    assert answer.status_code == 201, answer.text

    assert disk.written, "the sealed picture is written somewhere"
    harmless = (str(store_folder), "/dev/null")
    outside = [path for path in disk.written if not path.startswith(harmless)]
    assert not outside
    stored = [path for path in store_folder.rglob("*") if path.is_file()]
    assert stored
    assert not any(content[2_000:2_064] in path.read_bytes() for path in stored)


def test_a_body_too_large_for_every_limit_touches_no_disk_either(
    studio: Studio, token: str, disk: Disk
) -> None:
    files = {"image": ("picture.png", b"x" * settings.UPLOAD_BODY_MAX_BYTES, "image/png")}
    answer = studio.client(Authorization=token).post(UPLOADS, files=files)
    assert answer.status_code == 413
    assert not disk.written


def test_every_route_with_a_large_body_is_known() -> None:
    """A new one is a decision: it gives memory to whom it admits."""
    found = {route.path: limits.large_body_of(route.view) for route in ROUTES}
    assert {path: allowed.max_bytes for path, allowed in found.items() if allowed} == {
        "agent/v1/store/<str:artifact_id>": 256 * MIB,
        "api/v1/uploads": 32 * MIB,
        "api/v1/models/uploads/<str:upload_id>/content": 8 * MIB,
        "o/<str:organization_id>/models/uploads/<str:upload_id>/content": 8 * MIB,
        "w/<str:workspace_id>/uploads": 32 * MIB,
    }
