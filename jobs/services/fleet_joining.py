"""Join tokens: what lets a new machine become an agent, and its becoming one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from accounts.services.tokens import hash_token
from gpuagent.protocol.messages import Join, Joined
from gpuagent.protocol.recipe import FieldProblem
from jobs.announcements import announce_agents
from jobs.fleet_codes import FleetCode
from jobs.models import Agent, JoinToken
from jobs.services import agent_access
from jobs.services.fleet import new_agent_token
from jobs.services.fleet_agents import label_problems
from jobs.services.fleet_events import note
from jobs.services.fleet_reports import read_labels, read_text
from studio.core.errors import (
    InvalidInputError,
    JoinRefusedError,
    NotFoundError,
    UnauthenticatedError,
)

JOIN_PREFIX = "stj_"
USES_MAX = 1_000
HOURS_MAX = 24 * 30
HOURS_USUAL = 24
LISTED = 100
_NAME_MAX = 40
_TRIES = 20


@transaction.atomic
def create_join_token(
    *, actor: Actor, labels: Sequence[str] = (), uses: int = 1, hours: int = HOURS_USUAL
) -> tuple[JoinToken, str]:
    """A token that lets `uses` machines join within `hours`, and its plain text, told this once.

    Raises:
        InvalidInputError: every wrong field is named.
    """
    actor.require(Permission.FLEET_MANAGE)
    wanted = sorted({label.strip().lower() for label in labels if label.strip()})
    problems = label_problems(wanted)
    problems += _out_of_range("uses", uses, USES_MAX, "machines")
    problems += _out_of_range("hours", hours, HOURS_MAX, "hours")
    if problems:
        raise InvalidInputError(problems)
    plain = JOIN_PREFIX + secrets.token_urlsafe(32)
    token = JoinToken.objects.create(
        token_hash=hash_token(plain),
        labels=wanted,
        uses_left=uses,
        created_by_id=actor.user_id,
        expires_at=timezone.now() + timedelta(hours=hours),
    )
    details = {"uses": uses, "hours": hours, "labels": wanted}
    record_event(actor, "join_token.created", token.pk, details)
    return token, plain


@transaction.atomic
def revoke_join_token(*, actor: Actor, join_id: str) -> None:
    """End a join token; who has joined with it stays. Twice is fine.

    Raises:
        NotFoundError: there is no such token.
    """
    actor.require(Permission.FLEET_MANAGE)
    tokens = JoinToken.objects.filter(pk=join_id)
    if not tokens.exists():
        raise NotFoundError(noun="join token")
    if tokens.filter(revoked_at=None).update(revoked_at=timezone.now()):
        record_event(actor, "join_token.revoked", join_id)


def join_command(plain: str) -> str:
    """What to run on the new machine."""
    return f"python -m gpuagent join --url {settings.STUDIO_URL} --token {plain}"


def newest_join_tokens() -> list[JoinToken]:
    """Those that let somebody in come first, then the newest."""
    newest = JoinToken.objects.select_related("created_by").order_by("-id")[:LISTED]
    return sorted(newest, key=lambda token: not can_join(token))


def can_join(token: JoinToken) -> bool:
    """Whether it lets anybody in."""
    return not _reason(token)


@transaction.atomic
def join(plain: str, message: Join) -> Joined:
    """Make a new agent with a token of its own; one use of the join token is gone.

    Raises:
        UnauthenticatedError: there is no such token.
        JoinRefusedError: it is expired, revoked or used up.
        RedisAwayError, UsersRefusedError: no way into Redis can be made now; nothing was used up.
    """
    token = JoinToken.objects.filter(token_hash=hash_token(plain)).first()
    if token is None:
        raise UnauthenticatedError
    # The number of uses is asked and lowered at once: two machines cannot share the last.
    taken = JoinToken.objects.filter(
        pk=token.pk, revoked_at=None, expires_at__gt=timezone.now(), uses_left__gt=0
    ).update(uses_left=F("uses_left") - 1)
    if not taken:
        token.refresh_from_db()
        raise JoinRefusedError(reason=_reason(token) or "was used up")
    agent_token = new_agent_token()
    agent = _create(agent_token, message, labels=read_labels([*token.labels, *message.labels]))
    note(agent, FleetCode.JOINED, {"join_token": token.pk}, by=token.created_by_id)
    announce_agents()
    return Joined(
        agent_id=agent.pk,
        name=agent.name,
        token=agent_token,
        namespace=agent.namespace,
        redis_url=agent_access.grant(agent),
    )


def _create(plain: str, message: Join, *, labels: list[str]) -> Agent:
    """The agent under the name it wishes, or with the first free number behind it."""
    wish = read_text(message.name, _NAME_MAX) or "agent"
    for number in range(1, _TRIES + 1):
        name = wish if number == 1 else f"{wish}-{number}"
        if number == _TRIES:
            name = f"{wish}-{secrets.token_hex(4)}"
        try:
            with transaction.atomic():
                return Agent.objects.create(
                    name=name,
                    token_hash=hash_token(plain),
                    device=read_text(message.device, 120),
                    labels=labels,
                )
        except IntegrityError:
            continue
    raise AssertionError("a random name was taken, too")


def _reason(token: JoinToken) -> str:
    """Why the token lets nobody in; empty if it does."""
    if token.revoked_at is not None:
        return "was revoked"
    if token.expires_at <= timezone.now():
        return f"expired on {token.expires_at:%d %b %Y at %H:%M} UTC"
    return "" if token.uses_left else "was used up"


def _out_of_range(field: str, value: int, highest: int, noun: str) -> list[FieldProblem]:
    if 1 <= value <= highest:
        return []
    message = f"Choose 1 to {highest:,} {noun}, not {value}."
    return [
        FieldProblem(field=field, code="out_of_range", message=message, value=value, limit=highest)
    ]
