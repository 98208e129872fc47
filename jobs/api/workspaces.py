"""Workspaces over the API: making, changing, deleting, bringing back; who gets in; the export."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs.api import workspace_shapes as shapes
from jobs.export.streaming import zip_response
from jobs.services.deletion import delete_workspace, restore_workspace
from jobs.services.export import begin_export
from studio.core.errors import InvalidInputError
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.access import get_deleted_workspace, get_workspace, visible_workspaces
from workspaces.api import OrganizationView
from workspaces.models import Workspace
from workspaces.palette import COLORS
from workspaces.selectors import deleted_workspaces, grants_in, who_reaches
from workspaces.services.administration import Changes, change_workspace, create_workspace
from workspaces.services.grants import Grantee, grant_access, revoke_grant

DELETED = OpenApiParameter(
    "deleted", OpenApiTypes.BOOL, description="List those that can be brought back instead."
)


def _fields(request: Request, kinds: dict[str, type]) -> dict[str, Any]:
    """The body's fields, none that is not known, each of its kind."""
    body = json_object(request)
    problems = []
    for name, value in body.items():
        if name not in kinds:
            problems.append(_problem(name, "unknown", f"There is no field {name!r} here."))
        elif not isinstance(value, kinds[name]):
            kind = "true or false" if kinds[name] is bool else "a text"
            problems.append(_problem(name, "type", f"{name} must be {kind}."))
    if problems:
        raise InvalidInputError(problems)
    return body


def _problem(field: str, code: str, message: str) -> FieldProblem:
    return FieldProblem(field=field, code=code, message=message)


SETTABLE: dict[str, type] = {"name": str, "color": str, "is_restricted": bool}


class WorkspacesView(OrganizationView):
    """Workspaces."""

    permissions = {"GET": Permission.WORKSPACE_VIEW, "POST": Permission.WORKSPACE_CREATE}

    @extend_schema(
        operation_id="list_workspaces",
        parameters=[DELETED],
        responses={200: shapes.WorkspaceSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Workspaces that the token can look into; for owners, with `deleted=1`, the deleted."""
        if request.GET.get("deleted") in ("1", "true"):
            self.actor.require(Permission.WORKSPACE_DELETE)
            found = deleted_workspaces(self.actor.organization_id)
            named = self.actor.workspace_ids
            found = [w for w in found if not named or w.pk in named]
        else:
            found = list(visible_workspaces(self.actor))
        return Response([shapes.workspace_json(workspace) for workspace in found])

    @extend_schema(
        operation_id="create_workspace",
        request=shapes.NewWorkspaceSerializer,
        responses={201: shapes.WorkspaceSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """A new workspace with a key of its own."""
        raw = _fields(request, SETTABLE)
        workspace = create_workspace(
            actor=self.actor,
            name=raw.get("name", ""),
            color=raw.get("color", COLORS[0]),
            is_restricted=raw.get("is_restricted", False),
        )
        return Response(shapes.workspace_json(workspace), status=201)


class WorkspaceView(OrganizationView):
    """One workspace."""

    permissions = {
        "GET": Permission.WORKSPACE_VIEW,
        "PATCH": Permission.WORKSPACE_MANAGE,
        "DELETE": Permission.WORKSPACE_DELETE,
    }

    @extend_schema(
        operation_id="get_workspace", responses={200: shapes.WorkspaceSerializer, **ERRORS}
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """The workspace as it stands."""
        workspace = self._workspace(workspace_id, Permission.WORKSPACE_VIEW)
        return Response(shapes.workspace_json(workspace))

    @extend_schema(
        operation_id="change_workspace",
        request=shapes.WorkspaceChangesSerializer,
        responses={200: shapes.WorkspaceSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, workspace_id: str) -> Response:
        """Set the fields that are given."""
        workspace = self._workspace(workspace_id, Permission.WORKSPACE_MANAGE)
        changes = Changes(**_fields(request, SETTABLE))
        change_workspace(actor=self.actor, workspace=workspace, changes=changes)
        return Response(shapes.workspace_json(workspace))

    @extend_schema(
        operation_id="delete_workspace",
        request=None,
        responses={200: shapes.WorkspaceSerializer, **ERRORS},
    )
    def delete(self, request: Request, workspace_id: str) -> Response:
        """Gone for everybody at once; for seven days it can be brought back."""
        workspace = self._workspace(workspace_id, Permission.WORKSPACE_DELETE)
        delete_workspace(actor=self.actor, workspace=workspace)
        return Response(shapes.workspace_json(workspace))

    def _workspace(self, workspace_id: str, permission: Permission) -> Workspace:
        return get_workspace(self.actor, workspace_id, permission=permission)


class WorkspaceRestoreView(OrganizationView):
    """Bring back."""

    permissions = {"POST": Permission.WORKSPACE_DELETE}

    @extend_schema(
        operation_id="restore_workspace",
        request=None,
        responses={200: shapes.WorkspaceSerializer, **ERRORS, 409: PROBLEM},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Bring a deleted workspace back, with everything in it."""
        workspace = get_deleted_workspace(self.actor, workspace_id)
        restore_workspace(actor=self.actor, workspace=workspace)
        return Response(shapes.workspace_json(workspace))


class WorkspaceAccessView(OrganizationView):
    """Who gets in."""

    permissions = {"GET": Permission.WORKSPACE_VIEW}

    @extend_schema(
        operation_id="list_workspace_access",
        responses={200: shapes.AccessSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """Everybody who can look into the workspace: by role, by grant, through a team."""
        workspace = get_workspace(self.actor, workspace_id, permission=Permission.WORKSPACE_VIEW)
        return Response([shapes.access_json(reach) for reach in who_reaches(workspace)])


class GrantsView(OrganizationView):
    """Grants of a workspace."""

    permissions = {"GET": Permission.WORKSPACE_MANAGE, "PUT": Permission.WORKSPACE_MANAGE}

    @extend_schema(
        operation_id="list_grants", responses={200: shapes.GrantSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """Who was let in by name or team."""
        workspace = self._workspace(workspace_id)
        return Response([shapes.grant_json(grant) for grant in grants_in(workspace)])

    @extend_schema(
        operation_id="put_grant",
        request=shapes.NewGrantSerializer,
        responses={200: shapes.GrantSerializer, **BAD_INPUT},
    )
    def put(self, request: Request, workspace_id: str) -> Response:
        """Let a member or a team in; who is in already gets this role instead."""
        workspace = self._workspace(workspace_id)
        raw = _fields(request, {"user": str, "team": str, "role": str})
        grantee = Grantee(user_id=raw.get("user", ""), team_id=raw.get("team", ""))
        grant = grant_access(
            actor=self.actor, workspace=workspace, grantee=grantee, role=raw.get("role", "")
        )
        return Response(shapes.grant_json(grant))

    def _workspace(self, workspace_id: str) -> Workspace:
        return get_workspace(self.actor, workspace_id, permission=Permission.WORKSPACE_MANAGE)


class GrantView(OrganizationView):
    """One grant."""

    permissions = {"DELETE": Permission.WORKSPACE_MANAGE}

    @extend_schema(operation_id="revoke_grant", request=None, responses={204: None, **ERRORS})
    def delete(self, request: Request, workspace_id: str, grant_id: str) -> Response:
        """Take it back; again: no change."""
        workspace = get_workspace(self.actor, workspace_id, permission=Permission.WORKSPACE_MANAGE)
        revoke_grant(actor=self.actor, workspace=workspace, grant_id=grant_id)
        return Response(status=204)


class ExportView(OrganizationView):
    """The export."""

    permissions = {"GET": Permission.ORGANIZATION_EXPORT}

    @extend_schema(
        operation_id="export_organization",
        responses={
            (200, "application/zip"): OpenApiResponse(OpenApiTypes.BINARY, "A ZIP, as it is made"),
            401: PROBLEM,
            403: PROBLEM,
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Everything of the organization, decrypted, in one ZIP; a token of an owner."""
        return zip_response(begin_export(actor=self.actor), self.actor.organization_id)
