"""Fetching a file from an address that somebody typed, without becoming their hand in our network.

A name is looked up once, all that it stands for must be public, and the connection goes to exactly
what was checked: a name that means something else a moment later changes nothing. Redirects start
from the beginning. Neither a log line nor an error ever holds the address.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookupTimeoutError
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

import httpcore
import httpx
from django.conf import settings
from typing_extensions import override

from gpuagent.protocol.recipe import FieldProblem
from studio.core.addresses import IPAddress, is_public, parse_address
from studio.core.errors import InvalidInputError

REDIRECTS_MAX = 3
CHARACTERS_MAX = 2_048
TRIES_MAX = 3  # addresses of one name
SCHEMES = {"http": 80, "https": 443}
HEADERS = (("Accept-Encoding", "identity"), ("Connection", "close"))
OTHER_PART = "other_part"
T = TypeVar("T")
_PART = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<whole>\d{1,18})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A look-up cannot be broken off; those that hang keep a thread here, not one that answers people.
_lookups = ThreadPoolExecutor(max_workers=8, thread_name_prefix="lookup")


class FetchError(InvalidInputError):
    """Nothing was fetched; the sentence stands at the field `url`."""

    def __init__(self, code: str, message: str, limit: object = None) -> None:
        problem = FieldProblem(field="url", code=code, message=message, value=None, limit=limit)
        super().__init__([problem])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came: the bytes, and what the other side calls them."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A file that begins to come, or goes on at `offset`.

    `announced_bytes` is what the other side says of the whole, 0 if nothing; `validator` what it
    calls this very content, to go on with later, "" if it does not say or does not do parts.
    """

    pieces: Iterator[bytes]
    media_type: str
    announced_bytes: int
    offset: int = 0
    validator: str = ""


@dataclass(frozen=True, slots=True)
class Rest:
    """The part of a file that has not come yet, as long as it is still that file."""

    offset: int
    validator: str


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name (or of an address in any spelling), best first."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _family, _type, _protocol, _name, sockaddr in found]


def is_for_us(address: IPAddress) -> bool:
    """Public, and not this machine under its public address: no firewall stands before that."""
    return is_public(address) and not _is_this_machine(address)


def _is_this_machine(address: IPAddress) -> bool:
    """Nothing is sent: the system only says from where it would send."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return parse_address(probe.getsockname()[0]) == address
    except OSError:
        return False  # no way there, so the connection will fail as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a fetch may do. Strict as it stands; tests open it for servers of their own."""

    resolve: Callable[[str, int], Sequence[str]] = look_up
    allows: Callable[[IPAddress], bool] = is_for_us
    ports: frozenset[int] = field(default_factory=lambda: frozenset(settings.FETCH_PORTS))
    tls: ssl.SSLContext | None = None
    connect_seconds: float = 5.0
    total_seconds: float = 20.0
    idle_seconds: float = 20.0


def default_guard() -> Guard:
    """The strict guard, with the ports of the settings."""
    return Guard()


def fetch(address: str, *, max_bytes: int, guard: Guard | None = None) -> Fetched:
    """Get the picture that lies at a public http or https address.

    Raises:
        FetchError: refused or failed. What is refused inside our network and what does not answer
            get the same sentence.
    """

    def take(answer: Answer) -> Fetched:
        content = b"".join(answer.pieces)
        return Fetched(content=content, media_type=answer.media_type)

    return fetch_into(address, take, max_bytes=max_bytes, guard=guard, noun="picture")


def fetch_into(
    address: str,
    take: Callable[[Answer], T],
    *,
    max_bytes: int,
    guard: Guard | None = None,
    noun: str = "file",
    rest: Rest | None = None,
) -> T:
    """Let `take` have what lies at a public address, piece by piece; what it returns.

    With `rest` only that is asked for; where the other side has another file by now, or sends no
    parts, all of it comes, with the offset 0. An error of ours that `take` raises goes through;
    one of the system counts as the network's.

    Raises:
        FetchError: as `fetch`.
    """
    guard = guard or default_guard()
    url = _parse(address.strip(), guard)
    deadline = Deadline(guard.total_seconds, guard.idle_seconds)
    try:
        for _hop in range(REDIRECTS_MAX + 1):
            found, leads_to = _get(url, guard, deadline, take, max_bytes, noun, rest)
            if leads_to is None:
                return cast("T", found)
            url = _next(url, leads_to, guard, noun)
    except (*FAILURES, OSError, ValueError):
        raise _unreachable(noun) from None  # the cause may name the host
    raise FetchError("too_many_redirects", f"The address leads on more than {REDIRECTS_MAX} times.")


def _unreachable(noun: str) -> FetchError:
    return FetchError(
        "unreachable",
        "Nothing could be fetched: the address does not answer in time, or is not on the public "
        f"internet. Save the {noun} and choose the file instead.",
    )


def _parse(text: str, guard: Guard) -> httpx.URL:
    if len(text) > CHARACTERS_MAX:
        message = f"The address has {len(text)} characters; at most {CHARACTERS_MAX} are read."
        raise FetchError("too_long", message, CHARACTERS_MAX)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme not in SCHEMES or not url.raw_host:
        message = "This is not a web address. It begins with https:// or http://, then a site."
        raise FetchError("not_an_address", message)
    if url.userinfo:
        message = "The address holds a name or password. Take them out; they are not sent."
        raise FetchError("has_credentials", message)
    if _port(url) not in guard.ports:
        allowed = ", ".join(str(port) for port in sorted(guard.ports)) or "none"
        message = f"Nothing is fetched from this port. Allowed: {allowed}."
        raise FetchError("port_not_allowed", message, sorted(guard.ports))
    return url


def _port(url: httpx.URL) -> int:
    return url.port or SCHEMES[url.scheme]


def _next(url: httpx.URL, location: str, guard: Guard, noun: str) -> httpx.URL:
    try:
        return _parse(str(url.join(location)), guard)
    except (FetchError, httpx.InvalidURL):
        raise _unreachable(noun) from None


def _get(
    url: httpx.URL,
    guard: Guard,
    deadline: Deadline,
    take: Callable[[Answer], T],
    max_bytes: int,
    noun: str,
    rest: Rest | None,
) -> tuple[T | None, str | None]:
    """What was taken, or where the answer leads on to."""
    target = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=_port(url), target=url.raw_path
    )
    accepted = ("Accept", "image/*" if noun == "picture" else "*/*")
    headers = [accepted, *HEADERS, ("Host", url.netloc.decode("ascii"))]
    if rest:
        headers += [("Range", f"bytes={rest.offset}-"), ("If-Range", rest.validator)]
    backend = GuardedBackend(guard, deadline)
    tls = guard.tls or _tls()
    with (  # no proxy: the pool does not read the environment
        httpcore.ConnectionPool(ssl_context=tls, network_backend=backend) as pool,
        pool.stream("GET", target, headers=headers) as response,
    ):
        named = {key.lower(): value.decode("latin-1") for key, value in response.headers}
        if response.status in _REDIRECTS and b"location" in named:
            return None, named[b"location"]
        if response.status != 200 and not (rest and response.status == 206):
            message = f"The site answered {response.status}, not with a {noun}. Check the address."
            raise FetchError(f"no_{noun}_there", message)
        if named.get(b"content-encoding", "identity").strip().lower() not in ("", "identity"):
            message = f"The site sends the {noun} compressed a second time. Save it and choose it."
            raise FetchError("encoded", message)
        answer = _answer(named, response.iter_stream(), rest, response.status, max_bytes)
        return take(answer), None


def _answer(
    named: dict[bytes, str],
    stream: Iterable[bytes],
    rest: Rest | None,
    status: int,
    max_bytes: int,
) -> Answer:
    length = named.get(b"content-length", "")
    offset, whole = 0, int(length[:20]) if length.isdecimal() else 0
    if rest and status == 206:
        part = _PART.fullmatch(named.get(b"content-range", "").strip())
        is_other = named.get(b"etag", rest.validator).strip() != rest.validator
        if is_other or not part or int(part["first"]) != rest.offset:
            raise FetchError(OTHER_PART, "The site sent a part of another file. Add it again.")
        offset, whole = rest.offset, int(part["whole"])
    if whole > max_bytes:
        raise _too_large(max_bytes)
    tag = named.get(b"etag", "").strip()
    does_parts = named.get(b"accept-ranges", "").strip().lower() == "bytes" or status == 206
    return Answer(
        pieces=_read(stream, max_bytes, offset),
        media_type=named.get(b"content-type", "").partition(";")[0].strip().lower(),
        announced_bytes=whole,
        offset=offset,
        validator=tag if does_parts and tag.startswith('"') else "",
    )


def _read(pieces: Iterable[bytes], max_bytes: int, received: int) -> Iterator[bytes]:
    for piece in pieces:
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _too_large(max_bytes: int) -> FetchError:
    message = f"The file there is too large; at most {max_bytes / 1024**2:.0f} MiB can be fetched."
    return FetchError("too_large", message, max_bytes)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class Deadline:
    """The end of the whole fetch, however many redirects and pieces it has; and of each wait."""

    def __init__(self, seconds: float, idle_seconds: float = float("inf")) -> None:
        self._end = time.monotonic() + seconds
        self._idle = idle_seconds

    def left(self) -> float:
        """Seconds that may be waited now.

        Raises:
            httpcore.ReadTimeout: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return min(left, self._idle)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, guard: Guard, deadline: Deadline) -> None:
        self._guard = guard
        self._deadline = deadline

    @override
    def connect_tcp(
        self, host: str, port: int, *_rest: Any, **_options: Any
    ) -> _Stream:  # httpcore's signature
        refused: Exception = httpcore.ConnectError()
        for address in self._addresses(host, port)[:TRIES_MAX]:
            seconds = min(self._guard.connect_seconds, self._deadline.left())
            try:
                stream = httpcore.SyncBackend().connect_tcp(str(address), port, timeout=seconds)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refused = error
            else:
                return _Stream(stream, self._deadline)
        raise refused

    def _addresses(self, host: str, port: int) -> list[IPAddress]:
        """What the name stands for now. One address that is not public spoils all of them."""
        lookup = _lookups.submit(self._guard.resolve, host, port)
        try:
            found = lookup.result(timeout=self._deadline.left())
        except LookupTimeoutError:
            lookup.cancel()
            raise
        addresses = [parse_address(text) for text in dict.fromkeys(found)]
        if not all(self._guard.allows(address) for address in addresses):
            raise httpcore.ConnectError
        return addresses


class _Stream(httpcore.NetworkStream):
    """A connection on which every wait ends with the deadline, so that trickling does not help."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=self._deadline.left())

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._deadline.left())

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _Stream:
        left = self._deadline.left()
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    @override
    def get_extra_info(self, info: str) -> Any:  # httpcore's signature
        return self._stream.get_extra_info(info)


FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)
