"""What every answer carries under an https address, and that Django finds nothing to add."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.test.utils import override_settings

from accounts.models import User
from launcher.private import new_secret
from tests import factories
from tests.answers import Answer
from tests.factories import PASSWORD
from workspaces.models import Workspace
from workspaces.signing import media_url

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://studio.example"


def settings_under(address: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("STUDIO_URL", address)
    read = runpy.run_path(str(ROOT / "studio" / "settings.py"))
    return {name: value for name, value in read.items() if name.isupper()}


@pytest.fixture
def https(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings that are others under an https address."""
    plain = settings_under("http://studio.example", monkeypatch)
    secure = settings_under(ADDRESS, monkeypatch)
    others = {name: value for name, value in secure.items() if value != plain[name]}
    others = {name: value for name, value in others.items() if name != "CACHES"}
    assert {"SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE"} <= others.keys()
    hosts = ["studio.example", "testserver"]
    with override_settings(**{**others, "ALLOWED_HOSTS": hosts}):
        yield


def assert_safe(answer: Answer) -> None:
    assert answer["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "Server" not in answer


@pytest.mark.usefixtures("https")
def test_every_kind_of_answer_carries_them(
    bob: User, workspace: Workspace, bob_api: Client
) -> None:
    browser = Client()
    browser.force_login(bob)
    picture = media_url(factories.make_input(workspace, factories.make_png()))
    answers = {
        "a page": browser.get(f"/w/{workspace.pk}/", secure=True),
        "sign-in": Client().get("/accounts/login/", secure=True),
        "the API": bob_api.get("/api/v1/jobs", secure=True),
        "a problem": Client().get("/api/v1/jobs", secure=True),
        "an error": browser.get("/w/wsp_none/", secure=True),
        "no page": Client().get("/nothing/here", secure=True),
        "a picture": Client().get(picture, secure=True),
        "the agents' API": Client().post("/agent/v1/heartbeat", secure=True),
    }
    assert [answer.status_code for answer in answers.values()] == [
        200, 200, 200, 401, 404, 404, 200, 401
    ]  # fmt: skip
    for answer in answers.values():
        assert_safe(answer)
    assert "frame-ancestors 'none'" in answers["a page"]["Content-Security-Policy"]
    assert "sandbox" in answers["a picture"]["Content-Security-Policy"]


@pytest.mark.usefixtures("https")
def test_cookies_are_secure(bob: User, workspace: Workspace) -> None:
    browser = Client()
    browser.get("/accounts/login/", secure=True)
    form = {"login": bob.email, "password": PASSWORD}
    assert browser.post("/accounts/login/", form, secure=True).status_code == 302

    for name in ("sessionid", "csrftoken"):
        cookie = browser.cookies[name]
        assert cookie["secure"], name
        assert cookie["samesite"] == "Lax"
    assert browser.cookies["sessionid"]["httponly"]


@pytest.mark.usefixtures("https")
def test_plain_http_is_led_to_https_but_for_the_health_checks() -> None:
    client = Client()
    answer = client.get("/accounts/login/", headers={"Host": "studio.example"})
    assert (answer.status_code, answer["Location"]) == (301, f"{ADDRESS}/accounts/login/")
    assert client.get("/healthz").status_code == 200
    # The proxy in front says that the person came by https
    through = client.get("/accounts/login/", headers={"X-Forwarded-Proto": "https"})
    assert through.status_code == 200


def test_django_finds_nothing_to_add(tmp_path: Path) -> None:
    """`manage.py check --deploy` under an https address."""
    environment = {**os.environ, "STUDIO_URL": ADDRESS}
    environment.pop("STUDIO_TEST", None)
    (tmp_path / "secret.key").write_text(new_secret())  # as the launcher makes it
    environment |= {"STUDIO_SECRET_KEY": "", "STUDIO_SECRET_KEY_FILE": str(tmp_path / "secret.key")}
    said = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "INFO"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert "no issues" in said.stdout + said.stderr
