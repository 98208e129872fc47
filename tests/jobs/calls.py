"""Calls of the API, and what every problem must look like."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from tests.answers import Answer


def post(client: Client, path: str, body: object = None, **headers: str) -> Answer:
    content = json.dumps(body if body is not None else {})
    return client.post(path, content, "application/json", headers=headers)


def problem(response: Answer) -> dict[str, Any]:
    """The body of an answer that must be an RFC 9457 problem."""
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == response.status_code
    assert {"type", "title", "detail", "code"} <= set(body)
    return body
