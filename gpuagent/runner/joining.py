"""`python -m gpuagent join`: a machine becomes an agent of a studio, with a token for once."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from gpuagent.protocol.messages import Join, Joined
from gpuagent.protocol.wire import MessageInvalidError, from_wire
from gpuagent.runner.client import make_http, make_tls

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SENTENCES = {
    401: "The studio does not know this join token: it may be used up, expired or revoked.",
    404: "There is no studio at this address, or it is too old to let machines join.",
}


class JoinFailedError(Exception):
    """Says in a sentence what was wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a person gave on the command line."""

    url: str
    token: str = field(repr=False)
    name: str
    device: str
    labels: tuple[str, ...]
    credentials: Path
    ca_file: Path | None
    replace: bool = False


def default_name(device: str) -> str:
    """The host's name, and the device's if it is one of several."""
    return "-".join(part for part in (socket.gethostname(), device.replace(":", "")) if part)


def join(request: JoinRequest) -> Joined:
    """Ask the studio, and keep what it answers where only this user can read it.

    Raises:
        JoinFailedError: nothing was written; or, as the message then says, all but that was done.
    """
    parts = urlsplit(request.url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise JoinFailedError("--url must be the address of the studio: https://studio.example")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise JoinFailedError(
            "--url must begin with https://: the token would be readable on the way."
        )
    if request.credentials.exists() and not request.replace:
        raise JoinFailedError(
            f"{request.credentials} exists: this machine has joined. Say --replace to join anew, "
            "or --credentials for another agent on it."
        )
    joined = _ask(request)
    _write(request, joined)
    return joined


def _ask(request: JoinRequest) -> Joined:
    message = Join(name=request.name, device=request.device, labels=request.labels)
    url = f"{request.url.rstrip('/')}/agent/v1/join"
    try:
        with make_http(make_tls(request.ca_file)) as http:
            answer = http.post(
                url,
                json=message.to_wire(),
                headers={"Authorization": f"Bearer {request.token}"},
            )
    except (httpx.HTTPError, OSError) as error:
        raise JoinFailedError(
            f"The studio at {request.url} cannot be reached ({type(error).__name__}: {error})."
        ) from error
    if not answer.is_success:
        said = _SENTENCES.get(answer.status_code) or _detail(answer)
        raise JoinFailedError(f"{said} (HTTP {answer.status_code})")
    try:
        return from_wire(Joined, answer.json())
    except (ValueError, MessageInvalidError) as error:
        raise JoinFailedError(f"{url} does not answer as a studio does ({error}).") from error


def _detail(answer: httpx.Response) -> str:
    """What a problem document says."""
    try:
        return str(answer.json()["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return "The studio refused."


def _write(request: JoinRequest, joined: Joined) -> None:
    content = {
        "agent_id": joined.agent_id,
        "token": joined.token,
        "namespace": joined.namespace,
        "redis_url": joined.redis_url or "",
        "studio_url": request.url.rstrip("/"),
        "device": request.device,
        "labels": list(request.labels),
    }
    path = request.credentials
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise JoinFailedError(
            f"The studio took this machine as {joined.name}, but {path} cannot be written "
            f"({error.strerror}). Remove that agent in the studio and join again."
        ) from error
