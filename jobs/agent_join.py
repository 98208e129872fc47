"""`POST /agent/v1/join`: a machine becomes an agent."""

from __future__ import annotations

import json

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.http import Access, declare
from gpuagent.protocol.messages import Join
from gpuagent.protocol.wire import MessageInvalidError, from_wire
from jobs.agent_api import BadMessageError
from jobs.services.fleet_joining import JOIN_PREFIX, join
from studio.core.errors import UnauthenticatedError


@csrf_exempt
@require_POST
def join_fleet(request: HttpRequest) -> JsonResponse:
    """The join token is in the header; the answer holds the agent's own, this once."""
    scheme, _, plain = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not plain.strip().startswith(JOIN_PREFIX):
        raise UnauthenticatedError
    try:
        message = from_wire(Join, json.loads(request.body or b"{}"))
    except (ValueError, RecursionError, MessageInvalidError) as error:
        raise BadMessageError(reason="The body is not a Join message.") from error
    answer = JsonResponse(join(plain.strip(), message).to_wire(), status=201)
    answer["Cache-Control"] = "no-store"
    return answer


declare(join_fleet, Access(kind="join_token"))
