"""Heads: how large, how slow; trailers; sockets; what the server says of itself."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable

import pytest
from django.conf import LazySettings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from accounts.models import Organization, User
from studio import connections, serve
from tests import factories
from tests.factories import AgentHandle
from tests.web.conftest import Studio

pytestmark = pytest.mark.django_db(transaction=True)

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


# ------------------------------------------------------------------ heads


def test_a_head_of_usual_size_is_read(studio: Studio) -> None:
    line = studio.line()
    line.say(GET + b"X-Long: " + b"x" * 30_000 + b"\r\n\r\n")
    assert line.status() == 200


@pytest.mark.parametrize(
    "piece", [b"X-Header: value of some length\r\n", b"x" * 1_000], ids=["many", "one"]
)
def test_a_head_without_end_is_refused(studio: Studio, piece: bytes) -> None:
    line = studio.line()
    line.say(GET + b"X: ")
    sent = 0
    try:
        while sent < 10 * connections.HEAD_MAX_BYTES:
            line.say(piece * 20)
            sent += len(piece) * 20
            time.sleep(0.001)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert sent < 10 * connections.HEAD_MAX_BYTES
    assert line.is_closed()


def test_it_is_refused_with_a_status(studio: Studio) -> None:
    line = studio.line()
    line.say(GET + b"X: " + b"x" * connections.HEAD_MAX_BYTES)
    assert line.status() == 431


def test_a_head_that_does_not_come_is_not_waited_for(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    silent, slow, drip = studio.line(), studio.line(), studio.line()
    slow.say(GET[:10])
    for _ in range(8):
        try:
            drip.say(b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(0.1)
    assert all(line.is_closed(2.0) for line in (silent, slow, drip))


def test_a_kept_connection_is_used_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    line = studio.line()
    for _ in range(3):
        line.say(GET + b"\r\n")
        assert line.hear(b'{"alive": true}')
        line.heard = b""
        time.sleep(0.5)


def test_trailers_are_no_headers(studio: Studio, bob: User, organization_a: Organization) -> None:
    token = factories.make_token(bob, organization_a)
    start = b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    as_header, as_trailer = studio.line(), studio.line()
    credential = f"Authorization: Bearer {token}\r\n".encode()
    as_header.say(start + credential + b"\r\n2\r\n{}\r\n0\r\n\r\n")
    as_trailer.say(start + b"\r\n2\r\n{}\r\n0\r\n" + credential + b"\r\n")
    assert (as_header.status() == 401, as_trailer.status()) == (False, 401)


def test_trailers_without_end_are_cut_off(studio: Studio) -> None:
    line = studio.line()
    line.say(GET.replace(b"GET /healthz", b"POST /api/v1/jobs") + b"Transfer-Encoding: chunked\r\n")
    line.say(b"\r\n2\r\n{}\r\n0\r\nX: ")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(1_000):
            line.say(b"x" * 10_000)


def test_the_server_does_not_name_itself(studio: Studio) -> None:
    assert "Server" not in studio.client().get("/healthz").headers


def test_a_request_leaves_no_line(studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert studio.client().get("/media/org_x/art_x?e=1&s=canary").status_code == 404
    assert "canary" not in caplog.text


# ------------------------------------------------------------------ who calls


def refused_after(studio: Studio, header: str) -> int:
    """How many calls without a token are answered 401, each in the name of another address."""
    client = studio.client()
    for count in range(10):
        answer = client.get("/api/v1/jobs", headers={header: f"203.0.113.{count}"})
        if answer.status_code == 429:
            return count
    return 10


@pytest.fixture
def three_calls(settings: LazySettings) -> None:
    settings.API_RATE_ANONYMOUS = (3, 3_600)


@pytest.mark.usefixtures("three_calls")
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_nobody_says_who_they_are(studio: Studio, header: str) -> None:
    assert refused_after(studio, header) == 3


@pytest.mark.usefixtures("three_calls")
def test_a_proxy_that_is_trusted_says_who_calls(
    start: Callable[[], Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")
    studio = start()
    assert refused_after(studio, "X-Forwarded-For") == 10
    # What stands before the address that the proxy added was said by the caller: not believed
    client = studio.client()
    answers = [
        client.get("/api/v1/jobs", headers={"X-Forwarded-For": f"198.51.100.{n}, 203.0.113.99"})
        for n in range(4)
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


@pytest.mark.usefixtures("three_calls")
def test_another_proxy_is_not_believed(
    start: Callable[[], Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_TRUSTED_PROXIES", "10.0.0.0/8")
    assert refused_after(start(), "X-Forwarded-For") == 3


# ------------------------------------------------------------------ sockets


def agent_socket(studio: Studio, agent: AgentHandle) -> ClientConnection:
    address = f"ws://127.0.0.1:{studio.port}/agent/v1/socket"
    return connect(address, additional_headers={"Authorization": agent.header}, proxy=None)


def test_a_socket_stays_open_without_a_word(
    studio: Studio, agent: AgentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with agent_socket(studio, agent) as socket:
        time.sleep(0.6)
        socket.ping().wait(5)
        socket.send(json.dumps({"type": "nothing"}))


def test_a_message_larger_than_any_of_ours_ends_the_socket(
    studio: Studio, agent: AgentHandle
) -> None:
    with agent_socket(studio, agent) as socket:
        socket.send(b"x" * (serve.SOCKET_MESSAGE_MAX_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_socket_at_no_address_is_refused_without_a_trace(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{studio.port}/ws/canary/", proxy=None)
    assert refused.value.response.status_code == 403
    assert "canary" not in caplog.text
