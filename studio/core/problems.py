"""RFC 9457 problem details for every error of the API and of pages that ask for JSON."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from redis.exceptions import RedisError
from rest_framework import exceptions as api
from rest_framework.response import Response
from rest_framework.views import set_rollback
from typing_extensions import override

from studio.core.errors import RedisAwayError, StudioError

CONTENT_TYPE = "application/problem+json"
# Where the request's ASGI scope holds an error, that error is the answer (`studio/limits.py`).
REFUSAL = "studio.refusal"
logger = logging.getLogger(__name__)


def problem_body(error: StudioError) -> dict[str, object]:
    """The JSON object of one error."""
    body: dict[str, object] = {
        "type": f"urn:studio:problem:{error.code}",
        "title": error.code.replace(".", ": ").replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.message,
        "code": error.code,
    }
    if error.problems:
        body["errors"] = [
            {
                "field": p.field,
                "code": p.code,
                "message": p.message,
                "value": p.value,
                "limit": p.limit,
            }
            for p in error.problems
        ]
    return body


def problem_response(error: StudioError) -> JsonResponse:
    """The error as an HTTP answer."""
    return JsonResponse(
        problem_body(error),
        status=error.status,
        content_type=CONTENT_TYPE,
        headers=problem_headers(error),
    )


def problem_headers(error: StudioError) -> dict[str, str]:
    """How to sign in, and when to come again."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if (seconds := error.data.get("retry_after")) is not None:
        headers["Retry-After"] = str(seconds)
    return headers


class _ApiError(StudioError):
    """An error that the API framework raised itself."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__()
        self.code = code  # type: ignore[misc]  # one class stands for all of the framework's errors
        self.status = status  # type: ignore[misc]  # same
        self._message = message

    @property
    @override
    def message(self) -> str:
        return self._message


def known_error(error: Exception) -> StudioError | None:
    """The error as one of ours: it is one, or the framework, the database or Redis raised it."""
    return error if isinstance(error, StudioError) else _from_framework(error)


def _from_framework(error: Exception) -> StudioError | None:
    if isinstance(error, OperationalError | InterfaceError):  # it restarts, or is out of reach
        cause = type(error.__cause__ or error).__name__
        logger.warning("the database did not answer (%s)", cause)
        message = "The studio's database does not answer. Try again in a moment."
        return _ApiError("database.away", 503, message)
    if isinstance(error, RedisError):
        logger.warning("Redis did not answer (%s)", type(error).__name__)
        return RedisAwayError()
    if isinstance(error, DataError):  # a NUL character, a number beyond its column
        logger.warning("a request held a value that the database refuses")
        return _ApiError("input.invalid", 422, "A value in this request cannot be used.")
    if isinstance(error, Http404):
        return _ApiError("not_found", 404, "There is nothing at this address.")
    if isinstance(error, api.APIException):
        detail = error.detail if isinstance(error.detail, str) else "The request is not valid."
        return _ApiError(str(error.default_code), error.status_code, str(detail))
    return None


def api_exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Turn every exception of an API view into a problem; unknown ones stay errors (500)."""
    known = known_error(error)
    if known is None:
        return None
    set_rollback()
    return Response(
        problem_body(known),
        status=known.status,
        content_type=CONTENT_TYPE,
        headers=problem_headers(known),
    )


def wants_json(request: HttpRequest) -> bool:
    """Programs, and our own scripts' fetches, get JSON; people get pages."""
    path = request.path
    return path.startswith(("/api/", "/agent/")) or "json" in request.headers.get("Accept", "")


def page_response(request: HttpRequest, error: StudioError) -> HttpResponse:
    """The error as a page or, for a script's fetch, as a fragment with its sentence."""
    if error.problems and request.headers.get("HX-Request"):
        return render(
            request, "jobs/partials/form_errors.html", {"problems": error.problems}, status=422
        )
    sentences = " ".join(problem.message for problem in error.problems) or error.message
    context = {"title": error.code, "message": sentences, "code": error.status}
    return render(request, "error.html", context, status=error.status)


class ProblemMiddleware:
    """Answers our own errors; the trace of a stranger is logged without request data."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        refusal = getattr(request, "scope", {}).get(REFUSAL)
        if refusal is not None:
            return _answer(request, refusal)
        answer: HttpResponseBase | Awaitable[HttpResponseBase] = self.get_response(request)
        return answer

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Django calls this for anything a view raised."""
        known = known_error(error)
        if known is None:
            return None
        return _answer(request, known)


def _answer(request: HttpRequest, error: StudioError) -> HttpResponse:
    return problem_response(error) if wants_json(request) else page_response(request, error)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's `handler404`."""
    return _answer(request, _ApiError("not_found", 404, "There is nothing at this address."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`: says nothing of what went wrong."""
    return _answer(request, _ApiError("internal", 500, "Something went wrong here. Try again."))


def too_many(request: HttpRequest) -> HttpResponse:
    """`handler429` of allauth: somebody guesses, or was impatient."""
    return _answer(request, _ApiError("too_many", 429, "That was a lot at once. Try again later."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's `CSRF_FAILURE_VIEW`."""
    message = "This page has been open for too long. Load it again and repeat what you did."
    return _answer(request, _ApiError("csrf", 403, message))
