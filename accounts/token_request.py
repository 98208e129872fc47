"""A token as a program asks for it. Pure: from a JSON object to a name and limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from accounts.token_limits import Limits
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError

FIELDS = ("name", "scopes", "workspace_ids", "requests_per_minute", "expires_at")
_SHOWN = 80


def parse_token(raw: Mapping[str, object]) -> tuple[str, Limits]:
    """The name and the limits; whether they can be is checked by who makes the token.

    Raises:
        InvalidInputError: a field is unknown or not of its kind; all of them are named.
    """
    problems = [
        FieldProblem(
            field=name[:_SHOWN],
            code="unknown_field",
            message=f"There is no field called '{name[:_SHOWN]}'.",
        )
        for name in raw
        if name not in FIELDS
    ]
    name = raw.get("name", "")
    if not isinstance(name, str):
        problems.append(_not("name", "text"))
    scopes = _texts(raw, "scopes", problems)
    workspace_ids = _texts(raw, "workspace_ids", problems)
    rate = raw.get("requests_per_minute")
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool)):
        problems.append(_not("requests_per_minute", "a whole number"))
    expires_at = _time(raw.get("expires_at"), problems)
    if problems:
        raise InvalidInputError(problems)
    return str(name), Limits(
        scopes=scopes,
        workspace_ids=workspace_ids or frozenset(),
        requests_per_minute=rate if isinstance(rate, int) else None,
        expires_at=expires_at,
    )


def _texts(
    raw: Mapping[str, object], field: str, problems: list[FieldProblem]
) -> frozenset[str] | None:
    value = raw.get(field)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        problems.append(_not(field, "a list of texts"))
        return None
    return frozenset(value)


def _time(value: object, problems: list[FieldProblem]) -> datetime | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value if isinstance(value, str) else "")
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(_not("expires_at", "a time like 2027-01-31T12:00:00Z"))
        return None


def _not(field: str, kind: str) -> FieldProblem:
    return FieldProblem(field=field, code="type", message=f"{field} must be {kind}.")
