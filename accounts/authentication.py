"""Bearer tokens of the API."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from typing_extensions import override

from accounts.actors import Actor
from accounts.models import User
from accounts.policy import check_token
from accounts.selectors import find_actor
from accounts.services.tokens import find_token
from studio.core.errors import UnauthenticatedError


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer stu_…` makes the request act as the token's user."""

    @override
    def authenticate(self, request: Request) -> tuple[User, Actor] | None:
        """The user and, as `request.auth`, the actor.

        Raises:
            UnauthenticatedError: the token is unknown, expired or revoked, or its user has left.
            SecondFactorRequiredError: the organization asks for one and its user has none.
        """
        scheme, _, plain = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not plain:
            return None
        token = find_token(plain.strip())
        actor = token and find_actor(token.user_id, token.organization_id, token_id=token.pk)
        if not token or not actor:
            raise UnauthenticatedError
        check_token(token.organization, token.user_id)
        return token.user, actor

    @override
    def authenticate_header(self, request: Request) -> str:
        """Makes the framework answer 401, not 403."""
        return "Bearer"
