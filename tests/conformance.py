"""Sends what schemathesis makes to our application, and looks at what comes back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, transaction
from drf_spectacular.generators import SchemaGenerator
from redis import Redis
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks as openapi
from schemathesis.specs.openapi.schemas import OpenApiSchema

from studio.core.problems import CONTENT_TYPE
from tests import factories

METHODS = ("get", "post", "put", "patch", "delete")
TEXTS = ("type", "title", "detail", "code")
_SEED = 20_260
Case = schemathesis.Case[Any]
_WAIT = re.compile(r"wait=\d+", re.IGNORECASE)


def document() -> dict[str, Any]:
    """What `/api/schema/` answers, as plain JSON."""
    generated = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]  # drf-spectacular's
    plain: dict[str, Any] = json.loads(json.dumps(generated))
    return plain


def load(raw: dict[str, Any], *, examples: int) -> OpenApiSchema:
    """The document for schemathesis; the same requests are made of it every time."""
    generation = GenerationConfig(
        max_examples=examples, deterministic=True, with_security_parameters=False, database="none"
    )
    project = ProjectConfig(generation=generation)
    config = SchemathesisConfig(seed=_SEED, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_dict(raw, config=config)
    schema.app = WSGIHandler()
    return schema


def is_problem(ctx: CheckContext, response: Response, case: Case) -> None:
    """Every error is an RFC 9457 problem, with our `code`."""
    if response.status_code >= 400:
        (content_type,) = response.headers["content-type"]
        check_problem(response.status_code, content_type, response.content)


def check_problem(status: int, content_type: str, content: bytes) -> None:
    """Fail unless the answer is a problem."""
    assert content_type == CONTENT_TYPE, (status, content_type, content[:300])
    body = json.loads(content)
    assert body["status"] == status
    assert all(isinstance(body[name], str) and body[name] for name in TEXTS), body
    assert body["type"] == f"urn:studio:problem:{body['code']}"
    for error in body.get("errors", []):
        assert isinstance(error["field"], str), body
        assert error["code"], body
        assert error["message"], body


CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
    is_problem,
]


@contextmanager
def undone(redis: Redis) -> Iterator[None]:
    """What happens inside leaves nothing behind, in PostgreSQL nor in Redis."""
    redis.flushdb()
    # The end of a request would close the connection, and with it the test's transaction.
    with patch.object(connection, "close_if_unusable_or_obsolete"), transaction.atomic():
        yield
        transaction.set_rollback(True)


@dataclass(slots=True)
class Api:
    """Two programs, and the ids of what their organization has."""

    tokens: Mapping[str, str]
    ids: Mapping[str, str]
    redis: Redis
    seen: dict[str, Counter[int]]
    """How often each call was answered with which status; other methods of its address, too."""

    def send(self, case: Case) -> None:
        """As it was made, and then with ids that exist."""
        for name in list(case.headers or {}):
            if name.lower() == "prefer":  # an agent that would end the job is not here
                case.headers[name] = _WAIT.sub("wait=0", str(case.headers[name]))
        self._send(case, "owner")
        if self._name_what_exists(case):
            for who in self.tokens:
                self._send(case, who)

    def _name_what_exists(self, case: Case) -> bool:
        if isinstance(case.body, dict):
            case.body = deepcopy(case.body)
        named = False
        is_json = case.media_type == "application/json"
        if isinstance(case.body, dict) and not is_json and "image" in case.body:
            case.body["image"] = factories.make_png()  # type: ignore[assignment]  # a file in a form
            named = True
        for container in (case.path_parameters, case.query, case.body if is_json else None):
            if isinstance(container, dict):
                for name in container.keys() & self.ids.keys():
                    is_list = isinstance(container[name], list)
                    container[name] = [self.ids[name]] if is_list else self.ids[name]
                    named = True
        return named

    def _send(self, case: Case, who: str) -> None:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        with undone(self.redis):
            response = case.call(headers=headers)
            self.seen.setdefault(case.operation.label, Counter())[response.status_code] += 1
            is_stream = response.headers.get("content-type") == ["text/event-stream"]
            # Events are described as text; schemathesis would have each as an object.
            excluded = [openapi.response_schema_conformance] if is_stream else []
            case.validate_response(response, checks=CHECKS, excluded_checks=excluded)


def path_parameters(raw: Mapping[str, Any]) -> set[str]:
    """Names of all parameters in paths."""
    return {name for path in raw["paths"] for name in re.findall(r"{(\w+)}", path)}


DOCUMENT = document()
