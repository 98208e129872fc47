"""Fetching from addresses that people type, against real servers on loopback.

The guard is opened for loopback only where a test says so; everything else is as in the product.
"""

from __future__ import annotations

import datetime
import gzip
import io
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured

from studio import env
from studio.core.addresses import IPAddress
from studio.core.fetching import REDIRECTS_MAX, FetchError, Guard, fetch
from tests.core.web import Answer, Site, redirect, reply, silence, site, trickle

MANY_PORTS = frozenset(range(1, 65_536))
PICTURE = b"\x89PNG and so on"


def open_guard(names: dict[str, list[str]] | None = None, **more: object) -> Guard:
    """Lets 127.0.0.1 pass (and nothing else of loopback), at any port, under made-up names."""

    def resolve(host: str, port: int) -> Sequence[str]:
        return (names or {}).get(host, [host])

    def allows(address: IPAddress) -> bool:
        return str(address) == "127.0.0.1"

    return Guard(resolve=resolve, allows=allows, ports=MANY_PORTS, **more)  # type: ignore[arg-type]  # the rest is the guard's own


def code_of(url: str, guard: Guard | None = None, max_bytes: int = 1_000) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(url, max_bytes=max_bytes, guard=guard)
    (problem,) = caught.value.problems
    assert problem.field == "url"
    assert problem.value is None
    return problem.code


def sentence_of(url: str, guard: Guard | None = None) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(url, max_bytes=1_000, guard=guard)
    return caught.value.message


def no_such_name(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def there() -> Iterator[Site]:
    with site(reply(PICTURE, "Content-Type: image/png")) as running:
        yield running


def test_what_lies_there_is_fetched(there: Site) -> None:
    fetched = fetch(there.url(path="/cat.png?size=2#top"), max_bytes=1_000, guard=open_guard())

    assert (fetched.content, fetched.media_type) == (PICTURE, "image/png")
    (asked,) = there.asked
    head = asked.decode().lower()
    assert head.startswith("get /cat.png?size=2 http/1.1\r\n")
    assert f"host: 127.0.0.1:{there.port}\r\n" in head
    assert "accept-encoding: identity" in head
    assert "cookie" not in head
    assert "authorization" not in head


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "not_an_address"),
        ("cat.png", "not_an_address"),
        ("//example.org/cat.png", "not_an_address"),
        ("http:///cat.png", "not_an_address"),
        ("file:///etc/passwd", "not_an_address"),
        ("ftp://example.org/cat.png", "not_an_address"),
        ("gopher://127.0.0.1:6379/_INFO", "not_an_address"),
        ("data:image/png;base64,AAAA", "not_an_address"),
        ("http://exa\x00mple.org/", "not_an_address"),
        ("http://exa\r\nmple.org/", "not_an_address"),
        ("http://[::1/", "not_an_address"),
        ("http://①②⑦.⓪.⓪.①/", "not_an_address"),
        ("http://example.org:99999999/", "port_not_allowed"),
        ("http://bob@example.org/", "has_credentials"),
        ("http://bob:secret@example.org/", "has_credentials"),
        ("http://example.org\\@127.0.0.1/", "has_credentials"),
        ("http://example.org:22/", "port_not_allowed"),
        ("https://example.org:6379/", "port_not_allowed"),
        ("http://example.org/" + "a" * 2_048, "too_long"),
        ("http://" + "a" * 300 + ".org/", "unreachable"),
        ("http://.example.org/", "unreachable"),
    ],
)
def test_what_is_no_public_web_address_is_refused(url: str, code: str) -> None:
    assert code_of(url) == code


def test_which_ports_are_allowed_is_a_setting(settings: LazySettings) -> None:
    settings.FETCH_PORTS = (8_080,)
    assert code_of("http://example.org/") == "port_not_allowed"
    assert code_of("http://127.0.0.1:8080/") == "unreachable"
    settings.FETCH_PORTS = ()
    assert "none" in sentence_of("https://example.org/")


@pytest.mark.parametrize(
    ("value", "ports"), [(None, (80, 443)), ("", ()), (" 8080 ,81", (8080, 81)), ("80,", (80,))]
)
def test_ports_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str | None, ports: tuple[int, ...]
) -> None:
    if value is not None:
        monkeypatch.setenv("SOME_PORTS", value)
    assert env.integers("SOME_PORTS", default=(80, 443)) == ports


def test_a_wrong_port_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PORTS", "80;443")
    with pytest.raises(ImproperlyConfigured, match="SOME_PORTS is '80;443'"):
        env.integers("SOME_PORTS", default=())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "2130706433",
     "0x7f000001", "127.1", "[::]", "169.254.169.254", "0"],
)  # fmt: skip
def test_our_own_network_is_never_asked(there: Site, host: str) -> None:
    """With any port allowed, the strict guard stands before a server that would answer."""
    assert code_of(there.url(host), Guard(ports=MANY_PORTS)) == "unreachable"
    assert there.asked == []


def test_refused_and_silent_say_the_same(there: Site) -> None:
    with site(silence) as mute:
        hasty = open_guard(total_seconds=0.3)
        said = {
            sentence_of(there.url(), Guard(ports=MANY_PORTS)),  # loopback, somebody listens
            sentence_of("http://127.0.0.1:9/", Guard(ports=MANY_PORTS)),  # loopback, nobody does
            sentence_of("http://127.0.0.1:9/", open_guard()),  # allowed, nobody listens
            sentence_of("http://no-such-name.invalid/", Guard(resolve=no_such_name)),
            sentence_of(mute.url(), hasty),
        }
    assert len(said) == 1


def test_a_name_is_looked_up_once_and_the_connection_goes_there(there: Site) -> None:
    """DNS rebinding: the second answer is another address, which nobody asks for."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    with site(reply(b"inside"), address="127.0.0.2"):
        guard = Guard(
            resolve=resolve, allows=lambda found: str(found) == "127.0.0.1", ports=MANY_PORTS
        )
        fetched = fetch(there.url("rebind.example"), max_bytes=1_000, guard=guard)

    assert fetched.content == PICTURE
    assert asked == ["rebind.example"]
    assert f"Host: rebind.example:{there.port}".encode() in there.asked[0]


def test_a_name_with_one_address_inside_is_refused_whole(there: Site) -> None:
    names = {"mixed.example": ["127.0.0.1", "10.0.0.1"]}
    assert code_of(there.url("mixed.example"), open_guard(names)) == "unreachable"
    assert there.asked == []


def test_the_next_address_of_a_name_is_tried() -> None:
    def both(address: IPAddress) -> bool:
        return address.is_loopback

    with site(reply(PICTURE)) as there:  # listens on 127.0.0.1 only
        guard = Guard(
            resolve=lambda _host, _port: ["127.0.0.3", "127.0.0.1"], allows=both, ports=MANY_PORTS
        )
        assert fetch(there.url("two.example"), max_bytes=100, guard=guard).content == PICTURE


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 T", "308 P"])
def test_redirects_are_followed(there: Site, status: str) -> None:
    with site(redirect(there.url(path="/real.png"), status)) as first:
        fetched = fetch(first.url(), max_bytes=1_000, guard=open_guard())
    assert fetched.content == PICTURE
    assert there.asked[0].startswith(b"GET /real.png ")


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/",
     "http://inside.example:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/",
     "http://bob:secret@127.0.0.1:{port}/", "//127.0.0.2:{port}/", "http://[::1", "\x7f"],
)  # fmt: skip
def test_a_redirect_to_our_network_is_refused(location: str) -> None:
    names = {"inside.example": ["127.0.0.2"]}
    with (
        site(reply(b"inside"), address="127.0.0.2") as inside,
        site(redirect(location.format(port=inside.port))) as first,
    ):
        assert code_of(first.url(), open_guard(names)) == "unreachable"
        assert inside.asked == []


def test_redirects_end() -> None:
    with site(redirect("/again")) as there:
        assert code_of(there.url(), open_guard()) == "too_many_redirects"
        assert len(there.asked) == REDIRECTS_MAX + 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"", "Content-Length: 1001"), "too_large"),
        (reply(b"", f"Content-Length: {10**15}"), "too_large"),
        (reply(b"x" * 1_001), "too_large"),
        (trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 400, 0), "too_large"),
        (
            trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n", 0),
            "too_large",
        ),
        (reply(b"gone", "Content-Length: 4", status="404 Not Found"), "no_picture_there"),
        (reply(b"", "Content-Length: 0", status="304 Not Modified"), "no_picture_there"),
        (reply(b"short", "Content-Length: 500"), "unreachable"),
        (reply(b"", "X: " + "x" * 200_000), "unreachable"),
        (reply(b"", status="302 Found"), "no_picture_there"),
        (lambda connection: connection.sendall(b"220 mail ready\r\n"), "unreachable"),
        (lambda connection: None, "unreachable"),
    ],
)
def test_bad_answers_are_refused(answer: Answer, code: str) -> None:
    with site(answer) as there:
        assert code_of(there.url(), open_guard(total_seconds=3.0)) == code


def test_a_compressed_bomb_is_not_unpacked() -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(b"\x00" * 10_000_000)
    answer = reply(packed.getvalue(), "Content-Encoding: gzip", "Content-Type: image/png")
    with site(answer) as there:
        assert code_of(there.url(), open_guard(), max_bytes=100_000) == "encoded"


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        trickle(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n", 0.05),
        trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x", 0.05),
        trickle(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05),
    ],
    ids=["silent", "endless head", "endless body", "endless hints"],
)
def test_whoever_trickles_is_left(answer: Answer) -> None:
    began = time.monotonic()
    with site(answer) as there:
        assert code_of(there.url(), open_guard(total_seconds=0.6), 10**9) == "unreachable"
    assert time.monotonic() - began < 2.5


def test_a_look_up_that_hangs_is_left() -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        time.sleep(2)
        return ["127.0.0.1"]

    began = time.monotonic()
    guard = Guard(resolve=resolve, total_seconds=0.3)
    assert code_of("http://slow.example/", guard) == "unreachable"
    assert time.monotonic() - began < 1.5


def test_no_proxy_of_the_environment_is_used(there: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(reply(b"by proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch(there.url(), max_bytes=1_000, guard=open_guard()).content == PICTURE
        assert proxy.asked == []


def test_the_address_is_in_no_log_line(there: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    guard = open_guard({"canary.example": ["127.0.0.1"]}, total_seconds=0.5)
    fetch(there.url("canary.example", "/canary-path"), max_bytes=1_000, guard=guard)
    code_of("http://canary.example:9/canary-path", guard)
    code_of(there.url("canary.example", scheme="https"), guard)
    assert "canary" not in caplog.text


def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server of that name shows, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "both.pem").write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def test_tls_is_verified_against_the_name_not_the_address(tmp_path: Path) -> None:
    server, trusting = certificate_for("good.example", tmp_path)
    names = {"good.example": ["127.0.0.1"], "bad.example": ["127.0.0.1"]}
    with site(reply(PICTURE), tls=server) as there:
        guard = open_guard(names, tls=trusting)
        url = there.url("good.example", scheme="https")
        assert fetch(url, max_bytes=1_000, guard=guard).content == PICTURE
        assert code_of(there.url("bad.example", scheme="https"), guard) == "unreachable"
        assert code_of(there.url("127.0.0.1", scheme="https"), guard) == "unreachable"
        # Without the test's own authority, the product trusts only what browsers trust.
        assert code_of(url, open_guard(names)) == "unreachable"
        assert len(there.asked) == 1
