"""The API for tokens themselves: who one is, and one's own tokens."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actors import Actor
from accounts.models import ApiToken, Organization, User
from accounts.permissions import ANY_TOKEN
from accounts.roles import Permission
from accounts.services.tokens import create_token, revoke_token, rotate_token, tokens_of
from accounts.token_request import parse_token
from studio.core.errors import invalid
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.access import visible_workspaces
from workspaces.api import OrganizationView


class TokenRequestSerializer(serializers.Serializer[Any]):
    """What `POST tokens` takes."""

    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(
        child=serializers.CharField(), required=False, allow_null=True, help_text="Null: all."
    )
    workspace_ids = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Empty: all."
    )
    requests_per_minute = serializers.IntegerField(required=False, allow_null=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class TokenSerializer(TokenRequestSerializer):
    """A token, without its text."""

    id = serializers.CharField()
    prefix = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    successor = serializers.CharField(allow_null=True)


class NewTokenSerializer(TokenSerializer):
    """A token with its text, which is told this once."""

    token = serializers.CharField()


class MeSerializer(serializers.Serializer[Any]):
    """Whom a token acts as, and within which limits."""

    user = serializers.DictField()
    organization = serializers.DictField()
    role = serializers.CharField()
    rights = serializers.ListField(child=serializers.CharField())
    token = TokenSerializer()


def token_json(token: ApiToken) -> dict[str, Any]:
    """All of a token but its text."""
    return {
        "id": token.pk,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "workspace_ids": token.workspace_ids,
        "requests_per_minute": token.requests_per_minute,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "successor": token.successor_id,
    }


class MeView(OrganizationView):
    """Who am I."""

    permissions = {"GET": ANY_TOKEN}

    @extend_schema(operation_id="get_me", responses={200: MeSerializer, 401: PROBLEM})
    def get(self, request: Request) -> Response:
        """Whom this token acts as, in which organization, and what it may."""
        actor = self.actor
        user = User.objects.get(pk=actor.user_id)
        organization = Organization.objects.get(pk=actor.organization_id)
        body = {
            "user": {
                "id": user.pk,
                "name": user.name,
                "email": user.email,
                "is_service": user.is_service,
            },
            "organization": {"id": organization.pk, "name": organization.name},
            "role": actor.role.value,
            "rights": sorted(permission.value for permission in actor.rights),
            "token": token_json(ApiToken.objects.get(pk=actor.token_id)),
        }
        return Response(body)


class TokensView(OrganizationView):
    """One's own tokens."""

    permissions = {"GET": Permission.TOKEN_MANAGE_OWN, "POST": Permission.TOKEN_MANAGE_OWN}

    @extend_schema(
        operation_id="list_tokens", responses={200: TokenSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """Those of the token's owner in its organization; the ones that work come first."""
        tokens = tokens_of(self.actor.user_id, self.actor.organization_id)
        return Response([token_json(token) for token in tokens])

    @extend_schema(
        operation_id="create_token",
        request=TokenRequestSerializer,
        responses={201: NewTokenSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """Make one; it can have no more than the token that asks. Its text is told this once."""
        name, limits = parse_token(json_object(request))
        _check_workspaces(self.actor, limits.workspace_ids)
        token, plain = create_token(actor=self.actor, name=name, limits=limits)
        return Response({**token_json(token), "token": plain}, status=201)


class TokenView(OrganizationView):
    """One of one's own tokens."""

    permissions = {"DELETE": Permission.TOKEN_MANAGE_OWN}

    @extend_schema(operation_id="revoke_token", responses={204: None, **ERRORS})
    def delete(self, request: Request, token_id: str) -> Response:
        """End it at once; again: no change. A token may end itself."""
        revoke_token(actor=self.actor, token_id=token_id)
        return Response(status=204)


class TokenRotateView(OrganizationView):
    """A successor."""

    permissions = {"POST": Permission.TOKEN_MANAGE_OWN}

    @extend_schema(
        operation_id="rotate_token",
        request=None,
        responses={201: NewTokenSerializer, **ERRORS, 409: PROBLEM, 422: PROBLEM},
    )
    def post(self, request: Request, token_id: str) -> Response:
        """A new text with the same limits; the old one works for 24 hours more."""
        token, plain = rotate_token(actor=self.actor, token_id=token_id)
        return Response({**token_json(token), "token": plain}, status=201)


def _check_workspaces(actor: Actor, ids: frozenset[str]) -> None:
    """A mistyped id would make a token that opens nothing; nobody would know why."""
    known = visible_workspaces(actor).filter(pk__in=ids).values_list("pk", flat=True)
    missing = sorted(ids - set(known))
    if missing:
        message = f"There is no workspace {missing[0][:40]} that this token can look into."
        raise invalid("workspace_ids", "unknown", message)
