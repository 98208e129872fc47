"""API tokens: made once, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Membership, User
from accounts.roles import Permission, Role, may_give
from accounts.services.audit import record_event
from accounts.token_limits import NO_LIMITS, Limits, find_problems
from accounts.token_text import can_be_token, new_text
from studio.core.errors import ConflictError, InvalidInputError, NotFoundError

SHOWN = 10
TOKENS_LISTED = 100
OVERLAP = timedelta(hours=24)
_LAST_USED_EVERY = timedelta(minutes=1)


def hash_token(token: str) -> str:
    """A token has 256 random bits, so one fast hash is enough; there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def create_token(
    *, actor: Actor, name: str, limits: Limits = NO_LIMITS, user_id: str = ""
) -> tuple[ApiToken, str]:
    """A new token and its plain text, which is never to be had again.

    It is the actor's own, or that of `user_id`, a service account of their organization.

    Raises:
        InvalidInputError: the name or a limit cannot be; every field is named.
        ForbiddenError: the actor may not make tokens for others.
        NotFoundError: there is no such service account.
    """
    owner_id = _owner(actor, user_id)
    name = name.strip()
    if problems := find_problems(name, limits, actor=actor, now=timezone.now()):
        raise InvalidInputError(problems)
    plain = new_text()
    token = ApiToken.objects.create(
        user_id=owner_id,
        organization_id=actor.organization_id,
        name=name,
        prefix=plain[:SHOWN],
        token_hash=hash_token(plain),
        scopes=None if limits.scopes is None else sorted(limits.scopes),
        workspace_ids=sorted(limits.workspace_ids),
        requests_per_minute=limits.requests_per_minute,
        expires_at=limits.expires_at,
    )
    record_event(actor, "token.created", token.pk, _codes(token, actor))
    return token, plain


@transaction.atomic
def rotate_token(
    *, actor: Actor, token_id: str, overlap: timedelta = OVERLAP
) -> tuple[ApiToken, str]:
    """A successor with the same limits; the old one works on for `overlap`, then no more.

    Raises:
        NotFoundError: it is not theirs to rotate, or no longer live.
        ConflictError: it has a successor already.
        InvalidInputError: it may do more than the token through which they ask.
    """
    old = _manageable(actor).select_for_update().filter(pk=token_id, revoked_at=None).first()
    now = timezone.now()
    if old is None or is_expired(old, now):
        raise NotFoundError(noun="token")
    if old.successor_id is not None:
        raise ConflictError(what="This token was replaced already. Rotate its successor.")
    if (
        actor.scopes is not None or actor.token_id
    ):  # it is told the successor's text, so it would take what it was not given
        problems = find_problems(old.name, limits_of(old), actor=actor, now=now)
        if problems:
            raise InvalidInputError(problems)
    plain = new_text()
    fresh = ApiToken.objects.create(
        user_id=old.user_id,
        organization_id=old.organization_id,
        name=old.name,
        prefix=plain[:SHOWN],
        token_hash=hash_token(plain),
        scopes=old.scopes,
        workspace_ids=old.workspace_ids,
        requests_per_minute=old.requests_per_minute,
        expires_at=old.expires_at and now + (old.expires_at - old.created_at),
    )
    old.successor = fresh
    old.expires_at = min(filter(None, (old.expires_at, now + overlap)))
    old.save(update_fields=["successor", "expires_at"])
    record_event(actor, "token.rotated", old.pk, {"successor": fresh.pk})
    return fresh, plain


@transaction.atomic
def revoke_token(*, actor: Actor, token_id: str) -> None:
    """End a token of the actor, or of a service account they manage; twice is fine.

    Raises:
        NotFoundError: it is neither.
    """
    mine = _manageable(actor).filter(pk=token_id)
    if not mine.exists():
        raise NotFoundError(noun="token")
    if mine.filter(revoked_at=None).update(revoked_at=timezone.now()):
        record_event(actor, "token.revoked", token_id)


def limits_of(token: ApiToken) -> Limits:
    """What a token was limited to; its end is not among it, since a successor has its own."""
    return Limits(
        scopes=None if token.scopes is None else frozenset(token.scopes),
        workspace_ids=frozenset(token.workspace_ids),
        requests_per_minute=token.requests_per_minute,
    )


def _codes(token: ApiToken, actor: Actor) -> dict[str, object]:
    """What the audit log keeps of a new token: whose it is, and its limits."""
    codes: dict[str, object] = {"scopes": token.scopes or "all"}
    if token.user_id != actor.user_id:
        codes["user"] = token.user_id
    if token.workspace_ids:
        codes["workspaces"] = token.workspace_ids
    if token.requests_per_minute:
        codes["requests_per_minute"] = token.requests_per_minute
    if token.expires_at:
        codes["expires_at"] = token.expires_at.isoformat(timespec="seconds")
    return codes


def get_service_account(actor: Actor, user_id: str) -> User:
    """A service account whose tokens the actor may make.

    Raises:
        ForbiddenError: they manage none.
        NotFoundError: there is none of that id, or its role is higher than they may give.
    """
    actor.require(Permission.SERVICE_ACCOUNT_MANAGE)
    service = (
        Membership.objects.select_related("user")
        .filter(user_id=user_id, organization_id=actor.organization_id, user__is_service=True)
        .first()
    )
    # Its token would be a way to a higher role than the actor's own.
    if service is None or not may_give(actor.role, Role(service.role)):
        raise NotFoundError(noun="service account")
    return service.user


def tokens_of(user_id: str, organization_id: str) -> list[ApiToken]:
    """A user's tokens in an organization: those that work first, then the newest."""
    now = timezone.now()
    tokens = ApiToken.objects.filter(user_id=user_id, organization_id=organization_id)
    newest = list(tokens.order_by("-id")[:TOKENS_LISTED])
    return sorted(newest, key=lambda token: not is_live(token, now))


def _owner(actor: Actor, user_id: str) -> str:
    if user_id in ("", actor.user_id):
        actor.require(Permission.TOKEN_MANAGE_OWN)
        return actor.user_id
    return get_service_account(actor, user_id).pk


def _manageable(actor: Actor) -> QuerySet[ApiToken]:
    """The actor's own tokens and, if they manage those, service accounts'."""
    tokens = ApiToken.objects.filter(organization_id=actor.organization_id)
    whose = Q(user_id=actor.user_id if actor.can(Permission.TOKEN_MANAGE_OWN) else "")
    if actor.can(Permission.SERVICE_ACCOUNT_MANAGE):
        given = [role.value for role in Role if may_give(actor.role, role)]
        theirs = Membership.objects.filter(
            organization_id=actor.organization_id, role__in=given, user__is_service=True
        )
        whose |= Q(user_id__in=theirs.values("user_id"))
    return tokens.filter(whose)


def is_expired(token: ApiToken, now: datetime) -> bool:
    """Whether its time is over."""
    return token.expires_at is not None and token.expires_at <= now


def is_live(token: ApiToken, now: datetime) -> bool:
    """Whether it still opens anything."""
    return token.revoked_at is None and not is_expired(token, now)


def find_token(plain: str) -> ApiToken | None:
    """The live token with this text. Notes its use, at most once a minute."""
    if not can_be_token(plain):
        return None
    now = timezone.now()
    found = ApiToken.objects.filter(token_hash=hash_token(plain))
    token = found.select_related("user", "organization").first()
    if token is None or not is_live(token, now):
        return None
    if token.last_used_at is None or now - token.last_used_at > _LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token
