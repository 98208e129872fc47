"""What every route's answers carry, of whatever kind they are: right, refused, missing, wrong.

The routes come from the URL table, so that new ones are looked at as well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http import HttpResponseBase
from django.test import Client

from accounts.actors import Actor
from accounts.models import User
from jobs.models import Output
from tests import factories
from tests.answers import Answer
from tests.factories import PASSWORD
from tests.test_route_permissions import METHODS, ROUTES, UNKNOWN, Route, send
from tests.test_route_permissions import fleet_ids as fleet_ids
from tests.test_route_permissions import ids as ids
from tests.test_route_permissions import people_ids as people_ids
from workspaces.signing import media_url

pytestmark = pytest.mark.django_db

# The only answers that a browser may keep, and why.
KEPT = {
    "media": "a picture, by its signed address alone, for as long as the signature holds",
}
ODD_QUERIES = (
    "",
    "?before=%00",
    "?before=%ff",
    "?page=-1",
    "?e=%00&s=%00",
    "?next=//evil.example/",
    "?trash=%00&q=%00",
)
PROVIDER = "https://saml.alpha.example/sso?"
TELLTALES = ("Server", "X-Powered-By", "Via", "X-AspNet-Version")


def assert_safe(answer: HttpResponseBase, told: str) -> None:
    assert answer["X-Content-Type-Options"] == "nosniff", told
    # Addresses of share links are secrets: from there, nobody is told anything.
    assert answer["Referrer-Policy"] in ("same-origin", "no-referrer"), told
    assert answer["X-Frame-Options"] == "DENY", told
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin", told
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy, told
    assert "unsafe" not in policy, told
    assert "*" not in policy.split(), told
    assert not [name for name in TELLTALES if name in answer.headers], told
    assert "Access-Control-Allow-Origin" not in answer.headers, told
    # Signing on is done elsewhere: the address is the identity provider's, as its owners gave it.
    if (location := answer.headers.get("Location")) and not location.startswith(PROVIDER):
        assert location.startswith("/"), f"{told} leads away: {location}"
        assert not location.startswith("//"), f"{told} leads away: {location}"


def assert_not_kept(answer: HttpResponseBase, told: str) -> None:
    assert "no-store" in answer["Cache-Control"], told


def assert_cookies_are_guarded(answer: HttpResponseBase) -> None:
    for name, cookie in answer.cookies.items():
        assert cookie["samesite"] in ("Lax", "Strict"), name
        assert cookie["path"] == "/", name
        assert not cookie["domain"], name
        # Our scripts read the one that guards forms; it is worth nothing without a session.
        # One that is taken back is empty, and says no more than that.
        assert cookie["httponly"] or name == "csrftoken" or not cookie.value, name


@pytest.fixture
def named(ids: dict[str, str], output: Output, bob_in_a: Actor) -> dict[str, str]:
    """Ids for all parameters, those of allauth's routes and of share links too."""
    _share, token = factories.make_share(bob_in_a, output.workspace, outputs=[output])
    return {**ids, "uidb36": "1", "key": "x", "pk": "1", "token": token, "rest": "x/y"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name or route.path)
def test_every_answer_of_every_route(
    route: Route,
    named: dict[str, str],
    alice: User,
    client_of: Callable[[User], Client],
    bob_api: Client,
    agent_client: Client,
) -> None:
    unknown = {**named, **UNKNOWN, "token": "A" * len(named["token"])}
    clients = {"nobody": Client(), "a token": bob_api, "an agent": agent_client}
    statuses = set()
    for method in METHODS:
        clients["alice"] = client_of(alice)  # a route may have signed her out
        for who, client in clients.items():
            client.raise_request_exception = False
            for which in (named, unknown):
                answer = send(client, method, route.address(which))
                told = f"{method} /{route.path} for {who}: {answer.status_code}"
                assert answer.status_code < 500 or route.name == "readyz", told
                assert_safe(answer, told)
                if route.name not in KEPT or answer.status_code >= 300:
                    assert_not_kept(answer, told)
                assert_cookies_are_guarded(answer)
                statuses.add(answer.status_code)
    assert statuses


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name or route.path)
def test_odd_queries_are_no_error(
    route: Route, named: dict[str, str], alice: User, client_of: Callable[[User], Client]
) -> None:
    client = client_of(alice)
    client.raise_request_exception = False
    for query in ODD_QUERIES:
        answer = send(client, "GET", route.address(named) + query)
        told = f"/{route.path}{query}: {answer.status_code}"
        assert answer.status_code < 500 or route.name == "readyz", told
        assert_safe(answer, told)


def test_signing_in_leads_nowhere_else(alice: User) -> None:
    for address in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:1"):
        client = Client()
        form = {"login": alice.email, "password": PASSWORD, "next": address}
        answer: Answer = client.post("/accounts/login/", form)
        assert answer.status_code == 302, address
        assert "evil" not in answer["Location"], address
        assert_cookies_are_guarded(answer)


def test_a_picture_is_kept_by_its_address_alone(output: Output) -> None:
    answer = Client().get(media_url(output.picture))
    assert answer.status_code == 200
    assert answer["Cache-Control"].startswith("private, max-age=")
    assert_safe(answer, "a picture")
