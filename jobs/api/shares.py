"""Calls about share links."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs.api.common import WORKSPACE, strings_of, workspace_of
from jobs.services.sharing import (
    DAYS_DEFAULT,
    DAYS_MAX,
    PASSWORD_MAX,
    PASSWORD_MIN,
    TITLE_MAX,
    Terms,
    create_share,
    revoke_share,
    title_of,
)
from jobs.shares import shares_of
from jobs.watermark import TEXT_MAX
from studio.core.errors import InvalidInputError
from studio.core.openapi import BAD_INPUT, ERRORS
from studio.core.parsing import json_object
from studio.core.urls import absolute
from workspaces.access import get_project, get_share
from workspaces.api import OrganizationView
from workspaces.models import ShareLink

_TERMS: dict[str, type] = {
    "title": str,
    "days": int,
    "password": str,
    "has_watermark": bool,
    "watermark_text": str,
    "shows_metadata": bool,
}


class ShareRequestSerializer(serializers.Serializer[Any]):
    """A new link: to a project, or to pictures."""

    workspace = serializers.CharField(
        required=False, help_text="Default: the first workspace of the token's organization."
    )
    project = serializers.CharField(required=False)
    outputs = serializers.ListField(child=serializers.CharField(), required=False)
    title = serializers.CharField(max_length=TITLE_MAX, required=False)
    days = serializers.IntegerField(
        min_value=1, max_value=DAYS_MAX, default=DAYS_DEFAULT, required=False
    )
    password = serializers.CharField(
        min_length=PASSWORD_MIN, max_length=PASSWORD_MAX, required=False
    )
    has_watermark = serializers.BooleanField(required=False)
    watermark_text = serializers.CharField(
        max_length=TEXT_MAX, required=False, help_text="Default: the organization's name."
    )
    shows_metadata = serializers.BooleanField(required=False)


class ShareSerializer(serializers.Serializer[Any]):
    """A share link. Its address is in the answer to its making alone."""

    id = serializers.CharField()
    workspace = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    outputs = serializers.ListField(child=serializers.CharField())
    title = serializers.CharField()
    has_password = serializers.BooleanField()
    has_watermark = serializers.BooleanField()
    shows_metadata = serializers.BooleanField()
    opens = serializers.IntegerField()
    last_opened_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewShareSerializer(ShareSerializer):
    """A link just made, with its address."""

    url = serializers.URLField()


def share_json(link: ShareLink) -> dict[str, Any]:
    """A share link as JSON."""
    return {
        "id": link.pk,
        "workspace": link.workspace_id,
        "project": link.project_id,
        "outputs": link.output_ids,
        "title": title_of(link),
        "has_password": bool(link.password_hash),
        "has_watermark": link.has_watermark,
        "shows_metadata": link.shows_metadata,
        "opens": link.opens,
        "last_opened_at": link.last_opened_at,
        "created_at": link.created_at,
        "expires_at": link.expires_at,
        "revoked_at": link.revoked_at,
    }


class SharesView(OrganizationView):
    """Make and list."""

    permissions = {"GET": Permission.SHARE_MANAGE, "POST": Permission.SHARE_MANAGE}

    @extend_schema(
        operation_id="list_shares",
        parameters=[WORKSPACE],
        responses={200: ShareSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """The newest 200 links of a workspace, ended ones too."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.SHARE_MANAGE)
        return Response([share_json(link) for link in shares_of(workspace)])

    @extend_schema(
        operation_id="create_share",
        request=ShareRequestSerializer,
        responses={201: NewShareSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """A new link; `url` is in this answer and nowhere else."""
        body = json_object(request)
        workspace = workspace_of(self, body.get("workspace"), Permission.SHARE_MANAGE)
        project_id = body.get("project")
        project = project_id and get_project(
            self.actor,
            str(project_id),
            permission=Permission.SHARE_MANAGE,
            workspace=workspace,
        )
        link, token = create_share(
            actor=self.actor,
            workspace=workspace,
            terms=_terms(body),
            project=project or None,
            output_ids=strings_of(body, "outputs"),
        )
        url = absolute(reverse("shared", args=[token]))
        return Response({**share_json(link), "url": url}, status=201)


class ShareView(OrganizationView):
    """One link."""

    permissions = {"GET": Permission.SHARE_MANAGE, "DELETE": Permission.SHARE_MANAGE}

    @extend_schema(operation_id="get_share", responses={200: ShareSerializer, **ERRORS})
    def get(self, request: Request, share_id: str) -> Response:
        """The link."""
        return Response(share_json(get_share(self.actor, share_id)))

    @extend_schema(operation_id="revoke_share", responses={204: None, **ERRORS})
    def delete(self, request: Request, share_id: str) -> Response:
        """End it at once; again: no change."""
        revoke_share(actor=self.actor, link=get_share(self.actor, share_id))
        return Response(status=204)


def _terms(body: dict[str, Any]) -> Terms:
    """The terms in a body.

    Raises:
        InvalidInputError: a value is of the wrong type.
    """
    given = {name: body[name] for name in _TERMS if body.get(name) is not None}
    problems = [
        FieldProblem(field=name, code="wrong_type", message=f"`{name}` must be of type {kind}.")
        for name, value in given.items()
        # A boolean counts as a whole number in Python, but not here.
        if type(value) is not _TERMS[name]
        for kind in (_TERMS[name].__name__,)
    ]
    if problems:
        raise InvalidInputError(problems)
    return Terms(**given)
