"""Asking identity providers: the one way in which sign-on reaches out into a network.

An issuer's address is typed by an owner, so it is guarded as pictures' addresses are
(`studio.core.fetching`): https to public addresses, and nothing else but the hosts that whoever
runs the studio has listed in `STUDIO_SSO_HOSTS`. No redirects, no proxies, no cookies.
"""

from __future__ import annotations

import io
import ssl
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import requests
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from requests.adapters import BaseAdapter
from typing_extensions import override

from studio.core.fetching import FAILURES, Deadline, Guard, GuardedBackend

ANSWER_MAX_BYTES = 1024 * 1024
TOTAL_SECONDS = 10.0
HTTPS_PORT = 443


class NotAllowedError(requests.RequestException):
    """The address is none that a provider may have."""


def is_listed(address: str) -> bool:
    """Whether `STUDIO_SSO_HOSTS` names the host, or the host with this port."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port or (HTTPS_PORT if parts.scheme == "https" else 80)
    return bool(host) and bool({host, f"{host}:{port}"} & settings.SSO_HOSTS)


def may_ask(address: str) -> bool:
    """Whether an address looks like one that a provider may have: https, or listed."""
    try:
        parts = urlsplit(address)
        has_port = parts.port is not None
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.password is not None:
        return False
    if any(character.isspace() or ord(character) < 32 for character in address):
        return False
    if is_listed(address):
        return parts.scheme in ("http", "https")
    return parts.scheme == "https" and (not has_port or parts.port == HTTPS_PORT)


def new_session() -> requests.Session:
    """A session of `requests` that goes nowhere but through the guard."""
    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.adapters.clear()
    for scheme in ("https://", "http://"):
        session.mount(scheme, GuardedTransport())
    return session


class SignOnAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    """allauth's client goes through our guard, and knows no providers but ours."""

    def get_requests_session(self) -> requests.Session:
        return new_session()

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[Any]:
        """None: what is in its table or the settings is never used to sign anybody in."""
        return []

    def is_open_for_signup(self, request: HttpRequest, sociallogin: object) -> bool:
        return False


class GuardedTransport(BaseAdapter):
    """How `requests` sends here: to what was checked, for so long, and so many bytes back."""

    @override
    def send(
        self, request: requests.PreparedRequest, *_rest: Any, **_options: Any
    ) -> requests.Response:  # requests' signature
        address = request.url or ""
        if not may_ask(address):
            raise NotAllowedError
        try:
            url = httpx.URL(address)
            if url.raw_host.decode("ascii") != urlsplit(address).hostname:
                raise NotAllowedError  # two readings of one address: neither is right
            return _ask(request, url, listed=is_listed(address))
        except (*FAILURES, OSError, ValueError, httpx.InvalidURL):
            raise requests.ConnectionError from None  # the cause may name the host

    @override
    def close(self) -> None:
        """Nothing is kept open."""


def _ask(request: requests.PreparedRequest, url: httpx.URL, *, listed: bool) -> requests.Response:
    guard = Guard(allows=lambda _address: True) if listed else Guard()
    port = url.port or (HTTPS_PORT if url.scheme == "https" else 80)
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path)
    kept = {key: str(value) for key, value in request.headers.items()}
    fixed = {"Accept-Encoding": "identity", "Connection": "close"}
    headers = [*{"Host": url.netloc.decode("ascii"), **kept, **fixed}.items()]
    body = request.body.encode() if isinstance(request.body, str) else request.body
    backend = GuardedBackend(guard, Deadline(TOTAL_SECONDS))
    with (
        httpcore.ConnectionPool(ssl_context=_tls(listed=listed), network_backend=backend) as pool,
        pool.stream(request.method or "GET", target, headers=headers, content=body) as heard,
    ):
        content = bytearray()
        for piece in heard.iter_stream():
            content += piece
            if len(content) > ANSWER_MAX_BYTES:
                raise ValueError("too large")
        return _response(request, heard, bytes(content))


def _response(
    request: requests.PreparedRequest, heard: httpcore.Response, content: bytes
) -> requests.Response:
    response = requests.Response()
    response.status_code = heard.status
    for key, value in heard.headers:
        response.headers[key.decode("latin-1")] = value.decode("latin-1")
    response.request, response.url = request, request.url or ""
    response.raw = io.BytesIO(content)
    response.encoding = "utf-8"
    return response


def _tls(*, listed: bool) -> ssl.SSLContext:
    """Listed hosts may be certified by a company's own authority, which the machine trusts."""
    return ssl.create_default_context() if listed else httpx.create_ssl_context(trust_env=False)
