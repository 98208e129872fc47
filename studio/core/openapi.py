"""What holds for every call of the API is written into its description here, once."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from studio.core.problems import CONTENT_TYPE

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTION = "Problem details (RFC 9457)"
# Answers that any call may give: no token, the Accept header, a value that no column takes, one
# request too many, a restart.
_ANYWHERE = ("401", "406", "422", "429", "503")


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 problem details."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = serializers.ListField(  # type: ignore[assignment]  # RFC 9457's name; only described
        child=serializers.DictField(), required=False
    )


PROBLEM = OpenApiResponse(ProblemSerializer, description=_DESCRIPTION)
ERRORS: dict[Any, Any] = {401: PROBLEM, 403: PROBLEM, 404: PROBLEM, 429: PROBLEM}
BAD_INPUT: dict[Any, Any] = {**ERRORS, 400: PROBLEM, 413: PROBLEM, 415: PROBLEM, 422: PROBLEM}


def describe_problems(result: dict[str, Any], **_rest: object) -> dict[str, Any]:
    """A hook of drf-spectacular: problems with their own media type, and those of every call."""
    for methods in result["paths"].values():
        for operation in methods.values():
            responses = operation["responses"]
            for status in _ANYWHERE:
                responses.setdefault(status, _problem())
            for status, response in responses.items():
                if _is_problem(response):
                    responses[status] = {**response, **_problem()}
            operation["responses"] = dict(sorted(responses.items()))
    return result


def _problem() -> dict[str, Any]:
    return {"content": {CONTENT_TYPE: {"schema": _PROBLEM}}, "description": _DESCRIPTION}


def _is_problem(response: dict[str, Any]) -> bool:
    return any(media.get("schema") == _PROBLEM for media in response.get("content", {}).values())
