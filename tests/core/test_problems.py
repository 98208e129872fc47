"""Problem details: every error is a code, a status and a sentence, and says nothing else."""

from __future__ import annotations

import json
import logging

import pytest
from django.core.exceptions import SuspiciousOperation
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions as api

from gpuagent.protocol.recipe import FieldProblem
from studio.core import errors
from studio.core.errors import InvalidInputError, StudioError
from studio.core.problems import (
    ProblemMiddleware,
    api_exception_handler,
    problem_body,
    problem_response,
)
from workspaces.models import Workspace

SAMPLES: list[StudioError] = [
    errors.NotFoundError(noun="job"),
    errors.ForbiddenError(permission="job:submit"),
    errors.UnauthenticatedError(),
    errors.ConflictError(what="Too late."),
    errors.StoreFullError(),
    InvalidInputError([FieldProblem(field="width", code="x", message="Wide.", value=1, limit=2)]),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.code)
def test_every_error_has_a_code_a_status_and_a_sentence(error: StudioError) -> None:
    body = problem_body(error)
    assert body["type"] == f"urn:studio:problem:{error.code}"
    assert body["status"] == error.status
    assert str(body["detail"]).endswith(".") or "`" in str(body["detail"])
    assert "{" not in str(body["detail"])
    assert json.dumps(body)


def test_every_class_of_errors_has_its_own_code() -> None:
    classes = [
        c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, StudioError)
    ]
    codes = [c.code for c in classes]
    assert len(codes) == len(set(codes))


def test_field_problems_are_listed() -> None:
    assert problem_body(SAMPLES[-1])["errors"] == [
        {"field": "width", "code": "x", "message": "Wide.", "value": 1, "limit": 2}
    ]


def test_a_401_says_how_to_sign_in() -> None:
    response = problem_response(errors.UnauthenticatedError())
    assert response["WWW-Authenticate"] == "Bearer"
    assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (Http404("secret"), 404, "not_found"),
        (api.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (api.ParseError("JSON parse error"), 400, "parse_error"),
        (api.UnsupportedMediaType("text/x"), 415, "unsupported_media_type"),
        (api.Throttled(), 429, "throttled"),
    ],
)
def test_the_frameworks_errors_become_problems(raised: Exception, status: int, code: str) -> None:
    response = api_exception_handler(raised, {})
    assert response is not None
    assert (response.status_code, response.data["code"]) == (status, code)
    assert "secret" not in str(response.data)


@pytest.mark.parametrize("raised", [ValueError("secret"), KeyError("x"), SuspiciousOperation("x")])
def test_an_error_of_a_stranger_stays_one(raised: Exception) -> None:
    assert api_exception_handler(raised, {}) is None
    middleware = ProblemMiddleware(lambda request: None)
    assert middleware.process_exception(RequestFactory().get("/"), raised) is None


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/api/v1/jobs/x", "*/*", "application/problem+json"),
        ("/agent/v1/models/x", "*/*", "application/problem+json"),
        ("/w/x/", "application/json", "application/problem+json"),
        ("/media/x/y", "text/html", "text/html; charset=utf-8"),
    ],
)
@pytest.mark.django_db
def test_programs_get_json_and_people_get_pages(
    client: Client, path: str, accept: str, kind: str
) -> None:
    response = client.get(path, headers={"Accept": accept})
    assert response["Content-Type"] == kind
    assert response.status_code in (401, 404)


@pytest.mark.django_db
def test_an_unforeseen_error_tells_nothing(
    bob_api: Client,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr("jobs.api.views.submit_job", fail)
    bob_api.raise_request_exception = False

    with caplog.at_level(logging.ERROR):
        response = bob_api.post("/api/v1/jobs", '{"prompt": "canary"}', "application/json")

    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert b"secret" not in response.content
    assert "canary" not in caplog.text
