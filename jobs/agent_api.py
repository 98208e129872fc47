"""The agents' own API: `/agent/v1/`. See `docs/architecture.md` for the calls."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.core.files.base import File
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts.http import Access, declare, takes_large_body
from gpuagent.protocol.messages import (
    AttemptFinish,
    Claim,
    Heartbeat,
    OutputCommit,
    QueueAccess,
    Register,
)
from gpuagent.protocol.sealing import HEADER
from gpuagent.protocol.wire import MessageInvalidError, from_wire
from jobs.models import Agent, JobAttempt, JobInput
from jobs.services import agent_access, claiming, fleet, reporting
from jobs.services.leasing import OPEN
from library.models import ModelFile
from studio.core import storage
from studio.core.errors import ConflictError, NotFoundError, StudioError, UnauthenticatedError
from studio.core.scoping import system_scope
from workspaces.models import Artifact, ArtifactStatus

# An 8,192 × 8,192 picture that does not shrink has 192 MiB.
SEALED_MAX_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})")


class AgentRequest(HttpRequest):
    """A request of a known agent."""

    agent: Agent


class BadMessageError(StudioError):
    """The body is not the message that belongs here."""

    code = "message.invalid"
    status = 422
    template = "{reason}"


def agent_from_header(header: str) -> Agent | None:
    """The agent that an `Authorization` header names."""
    scheme, _, plain = header.partition(" ")
    return fleet.find_agent(plain.strip()) if scheme.lower() == "bearer" else None


def is_agent(request: HttpRequest) -> bool:
    """Whether a request that no middleware has seen comes from a known agent."""
    return agent_from_header(request.headers.get("Authorization", "")) is not None


def agent_call(method: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A call that only a known agent may make; it runs in the system scope."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @csrf_exempt
        @require_http_methods([method])
        @wraps(view)
        def wrapper(request: AgentRequest, **kwargs: str) -> HttpResponseBase:
            agent = agent_from_header(request.headers.get("Authorization", ""))
            if agent is None:
                raise UnauthenticatedError
            request.agent = agent
            with system_scope():
                answer: HttpResponseBase = view(request, **kwargs)
                return answer

        return declare(wrapper, Access(kind="agent"))

    return decorate


def _read(request: HttpRequest, kind: type[Any]) -> Any:  # noqa: ANN401  # the message class given
    try:
        return from_wire(kind, json.loads(request.body))
    except (ValueError, RecursionError, MessageInvalidError) as error:
        raise BadMessageError(reason=f"The body is not a {kind.__name__} message.") from error


@agent_call("POST")
def register(request: AgentRequest) -> JsonResponse:
    """A process of this agent has started."""
    fleet.register_agent(request.agent, _read(request, Register))
    return JsonResponse({"agent_id": request.agent.pk})


@agent_call("POST")
def queue(request: AgentRequest) -> JsonResponse:
    """The way to the agent's queue; made anew if Redis has forgotten it."""
    response = JsonResponse(QueueAccess(redis_url=agent_access.grant(request.agent)).to_wire())
    response["Cache-Control"] = "no-store"
    return response


@agent_call("POST")
def heartbeat(request: AgentRequest) -> JsonResponse:
    """The agent lives; what should it stop?"""
    reply = fleet.hear_heartbeat(request.agent, _read(request, Heartbeat))
    return JsonResponse(reply.to_wire())


@agent_call("POST")
def claim(request: AgentRequest, attempt_id: str) -> JsonResponse:
    """The work of an attempt."""
    message: Claim = _read(request, Claim)
    assignment = claiming.claim_attempt(
        request.agent, attempt_id, fence=message.fence, boot_id=message.boot_id
    )
    response = JsonResponse(assignment.to_wire())
    response["Cache-Control"] = "no-store"
    return response


@agent_call("POST")
def outputs(request: AgentRequest, attempt_id: str) -> JsonResponse:
    """A picture is stored."""
    is_new = reporting.commit_output(request.agent, attempt_id, _read(request, OutputCommit))
    return JsonResponse({"is_new": is_new})


@agent_call("POST")
def finish(request: AgentRequest, attempt_id: str) -> JsonResponse:
    """The attempt is over."""
    reporting.finish_attempt(request.agent, attempt_id, _read(request, AttemptFinish))
    return JsonResponse({})


@takes_large_body(SEALED_MAX_BYTES, admits=is_agent)
@agent_call("PUT")
def store(request: AgentRequest, artifact_id: str) -> HttpResponse:
    """Sealed bytes from an agent that cannot reach the file store itself."""
    artifact = Artifact.objects.filter(pk=artifact_id, status=ArtifactStatus.EXPECTED.value).first()
    mine = JobAttempt.objects.filter(agent=request.agent, status__in=OPEN)
    if artifact is None or not mine.filter(job__workspace_id=artifact.workspace_id).exists():
        raise ConflictError(what="Nothing is expected under this id.")
    stated = request.headers.get("Content-Length", "")
    length = int(stated) if stated.isdecimal() and len(stated) < 16 else 0
    if not HEADER.size < length <= SEALED_MAX_BYTES:
        raise BadMessageError(reason=f"The body must have 1 to {SEALED_MAX_BYTES} bytes.")
    storage.put(artifact.storage_key, request.read(SEALED_MAX_BYTES))
    return HttpResponse(status=204)


@agent_call("GET")
def input_bytes(request: AgentRequest, attempt_id: str, artifact_id: str) -> HttpResponseBase:
    """A sealed picture that an attempt starts from, for the agent that holds it."""
    held = JobAttempt.objects.filter(pk=attempt_id, agent=request.agent, status__in=OPEN)
    given = JobInput.objects.filter(job__in=held.values("job_id"), artifact_id=artifact_id)
    found = given.select_related("artifact").first()
    if found is None:
        raise NotFoundError(noun="input")
    return _file(request, found.artifact.storage_key)


@agent_call("GET")
def model_bytes(request: AgentRequest, sha256: str) -> HttpResponseBase:
    """One file of a registered model."""
    file = ModelFile.objects.filter(sha256=sha256).first()
    if file is None:
        raise NotFoundError(noun="model file")
    return _file(request, file.storage_key)


def _file(request: HttpRequest, key: str) -> HttpResponseBase:
    """An object, or the one range of it that was asked for: agents fetch large files in parts."""
    if not storage.exists(key):
        raise NotFoundError(noun="file")
    size = storage.size(key)
    wanted = _range(request.headers.get("Range", ""), size)
    start, end = wanted or (0, size)
    pieces = _pieces(storage.open_object(key), start, end)
    response = StreamingHttpResponse(pieces, content_type="application/octet-stream")
    if wanted is not None:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response["Content-Length"] = str(end - start)
    response["Accept-Ranges"] = "bytes"
    return response


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of `bytes=a-b`; None for all, as HTTP lets a server answer."""
    found = _RANGE.fullmatch(header)
    if found is None:
        return None
    start, end = int(found[1]), min(int(found[2]) + 1, size)
    return (start, end) if start < end else None


async def _pieces(opened: File[bytes], start: int, end: int) -> AsyncIterator[bytes]:
    """Piece by piece, each read in a thread: weights may have more bytes than this process may."""
    read = sync_to_async(opened.read, thread_sensitive=False)
    try:
        opened.seek(start)
        while start < end and (piece := await read(min(_PIECE_BYTES, end - start))):
            start += len(piece)
            yield piece
    finally:
        opened.close()
