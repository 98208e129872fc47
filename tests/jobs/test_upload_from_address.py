"""Starting pictures from the web, as programs and the page's script add them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from accounts.models import AuditEvent
from studio.core import fetching
from studio.core.fetching import Guard
from studio.core.scoping import system_scope
from tests import factories
from tests.core.web import Answer, Site, reply, site
from workspaces.models import Artifact, Workspace
from workspaces.services import uploads

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version", "workspace")]
CALL = "/api/v1/uploads/from-address"


@pytest.fixture
def open_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard lets loopback pass, where the tests' own servers are."""

    def guard() -> Guard:
        return Guard(
            allows=lambda address: address.is_loopback,
            ports=frozenset(range(1, 65_536)),
            total_seconds=2.0,
        )

    monkeypatch.setattr(fetching, "default_guard", guard)


@pytest.fixture
def there() -> Iterator[Site]:
    with site(reply(factories.make_png("red"), "Content-Type: image/png")) as running:
        yield running


def ask(client: Client, body: object) -> HttpResponse:
    response = client.post(CALL, json.dumps(body), "application/json")
    assert isinstance(response, HttpResponse)
    return response


def code_of(response: HttpResponse) -> str:
    return str(json.loads(response.content)["errors"][0]["code"])


@pytest.mark.usefixtures("open_web")
def test_a_picture_on_the_web_becomes_a_starting_picture(bob_api: Client, there: Site) -> None:
    response = ask(bob_api, {"url": there.url(path="/canary.png")})

    body = json.loads(response.content)
    assert (response.status_code, body["width"], body["height"]) == (201, 64, 64)
    job = bob_api.post(
        "/api/v1/jobs",
        json.dumps({"prompt": "a mug", "image": body["sha256"], "strength": 0.5}),
        "application/json",
    )
    assert job.status_code == 201
    with system_scope():
        assert AuditEvent.objects.get(action="upload.fetched").object_id == body["id"]
        rows = json.dumps([list(AuditEvent.objects.values()), list(Artifact.objects.values())],
                          default=repr)  # fmt: skip
    assert "canary" not in rows


@pytest.mark.usefixtures("open_web")
def test_the_same_picture_as_file_and_from_the_web_is_one(
    bob_api: Client, there: Site, bobs: Client, room: str
) -> None:
    one = ask(bob_api, {"url": there.url()})
    other = bobs.post(f"{room}/uploads/from-address", {"url": there.url()})
    assert other.status_code == 201
    assert other.json()["id"] == json.loads(one.content)["id"]
    assert bobs.get(other.json()["url"]).status_code == 200


@pytest.mark.usefixtures("open_web")
@pytest.mark.parametrize(
    ("answer", "field", "code"),
    [
        (reply(b"<html>", "Content-Type: text/html; charset=utf-8"), "url", "not_a_picture"),
        (reply(b"<html>", "Content-Type: image/png"), "image", "broken"),
        (reply(b"", "Content-Length: 0", "Content-Type: image/png"), "image", "empty"),
        (reply(b"", "Content-Length: 999999999"), "url", "too_large"),
        (reply(b"", status="404 Not Found"), "url", "no_picture_there"),
    ],
)
def test_what_is_no_picture_is_refused(
    bob_api: Client, answer: Answer, field: str, code: str
) -> None:
    with site(answer) as there:
        response = ask(bob_api, {"url": there.url()})
    assert response.status_code == 422
    (error,) = json.loads(response.content)["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert error["message"].endswith(".")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "required"),
        ({"url": ""}, "required"),
        ({"url": " "}, "required"),
        ({"url": None}, "required"),
        ({"url": ["http://example.org/"]}, "required"),
        ({"url": "cat.png"}, "not_an_address"),
        ({"url": "http://example.org/", "depth": 2}, "unknown_field"),
        ([], "not_an_object"),
    ],
)
def test_a_wrong_body_is_refused(bob_api: Client, body: object, code: str) -> None:
    response = ask(bob_api, body)
    assert (response.status_code, code_of(response)) == (422, code)


def test_the_product_as_it_stands_asks_nobody_inside(
    bob_api: Client, bobs: Client, room: str, there: Site, settings: LazySettings
) -> None:
    settings.FETCH_PORTS = (there.port,)
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        assert code_of(ask(bob_api, {"url": there.url(host)})) == "unreachable"
        page = bobs.post(f"{room}/uploads/from-address", {"url": there.url(host)},
                         headers={"Accept": "application/json"})  # fmt: skip
        assert (page.status_code, page.json()["errors"][0]["code"]) == (422, "unreachable")
    assert there.asked == []


def test_the_address_stays_out_of_logs_and_answers(
    bob_api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = ask(bob_api, {"url": "http://127.0.0.1/canary.png?token=canary"})
    assert response.status_code == 422
    assert b"canary" not in response.content
    assert "canary" not in caplog.text


def test_another_organization_s_workspace_is_not_found(
    bob_api: Client, workspace_b: Workspace
) -> None:
    response = ask(bob_api, {"url": "http://127.0.0.1/", "workspace": workspace_b.pk})
    assert response.status_code == 404


@pytest.mark.usefixtures("open_web")
def test_only_so_many_are_fetched_at_once(
    bob_api: Client, there: Site, workspace: Workspace
) -> None:
    taking_turn = uploads._fetching_one
    with taking_turn(workspace.organization_id):
        with taking_turn(workspace.organization_id):
            full = ask(bob_api, {"url": there.url()})
            assert (full.status_code, json.loads(full.content)["code"]) == (503, "busy")
        assert ask(bob_api, {"url": there.url()}).status_code == 201
        with taking_turn("org_b"), taking_turn("org_b"), taking_turn("org_c"):
            assert ask(bob_api, {"url": there.url()}).status_code == 503
    assert not uploads._fetching


@pytest.mark.usefixtures("open_web")
def test_a_failed_fetch_gives_its_place_back(bob_api: Client) -> None:
    for _ in range(uploads.FETCHES_MAX + 1):
        assert code_of(ask(bob_api, {"url": "http://127.0.0.1:9/"})) == "unreachable"
    assert not uploads._fetching


def test_where_fetching_is_off_the_page_does_not_offer_it(
    bobs: Client, room: str, settings: LazySettings
) -> None:
    assert b"From a web address" in bobs.get(f"{room}/").content
    settings.FETCH_PORTS = ()
    page = bobs.get(f"{room}/").content
    assert b"From a web address" not in page
    assert b'data-address-url=""' in page


def test_a_file_that_is_too_large_is_refused(bob_api: Client, settings: LazySettings) -> None:
    settings.UPLOAD_MAX_BYTES = 1_000
    file = SimpleUploadedFile("cat.png", b"x" * 1_001, "image/png")
    response = bob_api.post("/api/v1/uploads", {"image": file})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "too_large")
