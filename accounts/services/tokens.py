"""API tokens: made once, shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError, NotFoundError

PREFIX = "stu_"
_LAST_USED_EVERY = timedelta(minutes=1)


def hash_token(token: str) -> str:
    """A token has 256 random bits, so one fast hash is enough; there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def create_token(
    *, actor: Actor, name: str, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A new token and its plain text, which is never to be had again.

    Raises:
        InvalidInputError: the name is empty or longer than 80 characters.
    """
    actor.require(Permission.TOKEN_MANAGE_OWN)
    name = name.strip()
    if not 1 <= len(name) <= 80:
        problem = FieldProblem(
            field="name",
            code="length",
            message=f"The name has {len(name)} characters; give it 1 to 80.",
            value=len(name),
            limit=[1, 80],
        )
        raise InvalidInputError([problem])
    plain = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user_id=actor.user_id,
        organization_id=actor.organization_id,
        name=name,
        prefix=plain[:10],
        token_hash=hash_token(plain),
        expires_at=expires_at,
    )
    record_event(actor, "token.created", token.pk)
    return token, plain


@transaction.atomic
def revoke_token(*, actor: Actor, token_id: str) -> None:
    """End one of the actor's own tokens at once; revoking twice is fine.

    Raises:
        NotFoundError: it is not theirs.
    """
    mine = ApiToken.objects.filter(
        pk=token_id, user_id=actor.user_id, organization_id=actor.organization_id
    )
    if not mine.exists():
        raise NotFoundError(noun="token")
    if mine.filter(revoked_at=None).update(revoked_at=timezone.now()):
        record_event(actor, "token.revoked", token_id)


def find_token(plain: str) -> ApiToken | None:
    """The live token with this text. Notes its use, at most once a minute."""
    now = timezone.now()
    live = ApiToken.objects.filter(token_hash=hash_token(plain), revoked_at=None)
    token = live.select_related("user", "organization").first()
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return None
    if token.last_used_at is None or now - token.last_used_at > _LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token
