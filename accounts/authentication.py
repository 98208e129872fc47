"""Bearer tokens of the API."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from typing_extensions import override

from accounts.actors import Actor
from accounts.addresses import client_address
from accounts.models import User
from accounts.policy import check_token
from accounts.selectors import actor_of_token
from accounts.services.tokens import find_token
from studio.core.errors import UnauthenticatedError


def has_token(request: HttpRequest) -> bool:
    """Whether a request that no middleware has seen carries a token that holds."""
    try:
        return TokenAuthentication().authenticate(request) is not None
    except UnauthenticatedError:
        return False


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer stu_…` makes the request act as the token's user."""

    @override
    def authenticate(self, request: Request | HttpRequest) -> tuple[User, Actor] | None:
        """The user and, as `request.auth`, the actor.

        Raises:
            UnauthenticatedError: the token is unknown, expired or revoked, or its user has left.
            SecondFactorRequiredError: the organization asks for one and its user has none.
        """
        scheme, _, plain = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not plain:
            return None
        token = find_token(plain.strip())
        actor = token and actor_of_token(token, address=client_address(request))
        if not token or not actor:
            raise UnauthenticatedError
        check_token(token.organization, token.user_id, is_service=token.user.is_service)
        return token.user, actor

    @override
    def authenticate_header(self, request: Request) -> str:
        """Makes the framework answer 401, not 403."""
        return "Bearer"
