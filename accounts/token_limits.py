"""What a token may be limited to. Pure: the checks of a form that makes one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.actors import Actor
from accounts.names import name_problems
from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem

NAME_MAX = 80
LIFE_MAX = timedelta(days=366)
REQUESTS_MAX = 6_000
WORKSPACES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Scopes: names of permissions, None for all. No workspaces named: all."""

    scopes: frozenset[str] | None = None
    workspace_ids: frozenset[str] = frozenset()
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


NO_LIMITS = Limits()


def find_problems(name: str, limits: Limits, *, actor: Actor, now: datetime) -> list[FieldProblem]:
    """What is wrong with a token that `actor` wants to make.

    A token cannot make one that may do more than itself, nor one that outlasts its own limits to
    workspaces.
    """
    found = [
        _scopes(limits.scopes, actor),
        _workspaces(limits.workspace_ids, actor),
        _rate(limits.requests_per_minute, actor),
        _expiry(limits.expires_at, now),
    ]
    return [*name_problems(name, NAME_MAX), *(problem for problem in found if problem is not None)]


def _scopes(scopes: frozenset[str] | None, actor: Actor) -> FieldProblem | None:
    if scopes is None:
        if actor.scopes is None:
            return None
        message = "You are limited to scopes here; name those that the new one shall have."
        return FieldProblem(field="scopes", code="required", message=message)
    unknown = sorted(scopes - {p.value for p in Permission})
    if unknown:
        message = f"There is no scope {unknown[0][:80]}. See the table of permissions."
        return FieldProblem(field="scopes", code="unknown", message=message, value=unknown[0][:80])
    if not scopes:
        message = "Choose at least one scope; a token without any could do nothing."
        return FieldProblem(field="scopes", code="empty", message=message)
    beyond = sorted(scopes - {p.value for p in actor.scopes}) if actor.scopes is not None else []
    if beyond:
        message = f"You do not have the scope {beyond[0]} here yourself."
        return FieldProblem(field="scopes", code="beyond", message=message, value=beyond[0])
    return None


def _workspaces(ids: frozenset[str], actor: Actor) -> FieldProblem | None:
    if len(ids) > WORKSPACES_MAX:
        message = f"{len(ids)} workspaces are named; at most {WORKSPACES_MAX} can be."
        return FieldProblem(
            field="workspace_ids",
            code="too_many",
            message=message,
            value=len(ids),
            limit=WORKSPACES_MAX,
        )
    if actor.workspace_ids and not (ids and ids <= actor.workspace_ids):
        message = "This token is limited to some workspaces; the new one must be, to those."
        return FieldProblem(field="workspace_ids", code="beyond", message=message)
    return None


def _rate(rate: int | None, actor: Actor) -> FieldProblem | None:
    limit = actor.requests_per_minute or REQUESTS_MAX
    if rate is None and actor.requests_per_minute is None:
        return None
    if rate is not None and 1 <= rate <= limit:
        return None
    message = f"Requests per minute must be 1 to {limit}, not {rate}."
    return FieldProblem(
        field="requests_per_minute", code="range", message=message, value=rate, limit=[1, limit]
    )


def _expiry(expires_at: datetime | None, now: datetime) -> FieldProblem | None:
    if expires_at is None or now < expires_at <= now + LIFE_MAX:
        return None
    message = f"The end must be in the future, within {LIFE_MAX.days} days."
    return FieldProblem(
        field="expires_at",
        code="range",
        message=message,
        value=expires_at.isoformat(),
        limit=(now + LIFE_MAX).isoformat(),
    )
