"""Calls about projects."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs.api.common import WORKSPACE, strings_of, workspace_of
from jobs.selectors import projects_of
from jobs.services.placing import place_in_and_out
from studio.core.errors import InvalidInputError
from studio.core.openapi import BAD_INPUT, ERRORS
from studio.core.parsing import json_object
from workspaces.access import get_project
from workspaces.api import OrganizationView
from workspaces.models import Project
from workspaces.palette import COLORS
from workspaces.services.projects import (
    COLOR_DEFAULT,
    NAME_MAX,
    ProjectChange,
    change_project,
    create_project,
    project_name,
)

ARCHIVED = OpenApiParameter("archived", OpenApiTypes.BOOL, description="List archived ones, too.")


class ProjectSerializer(serializers.Serializer[Any]):
    """A project of a workspace."""

    id = serializers.CharField()
    workspace = serializers.CharField()
    name = serializers.CharField()
    color = serializers.ChoiceField(choices=COLORS)
    is_archived = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class ProjectRequestSerializer(serializers.Serializer[Any]):
    """A new project."""

    workspace = serializers.CharField(
        required=False, help_text="Default: the first workspace of the token's organization."
    )
    name = serializers.CharField(max_length=NAME_MAX)
    color = serializers.ChoiceField(choices=COLORS, required=False)


class ProjectChangeSerializer(serializers.Serializer[Any]):
    """What to change; what is left out stays."""

    name = serializers.CharField(max_length=NAME_MAX, required=False)
    color = serializers.ChoiceField(choices=COLORS, required=False)
    is_archived = serializers.BooleanField(required=False)


class PlacingSerializer(serializers.Serializer[Any]):
    """Pictures to put into the project, and pictures to take out of it."""

    add = serializers.ListField(child=serializers.CharField(), required=False)
    remove = serializers.ListField(child=serializers.CharField(), required=False)


class PlacedSerializer(serializers.Serializer[Any]):
    """How many pictures moved."""

    added = serializers.IntegerField()
    removed = serializers.IntegerField()


def project_json(project: Project) -> dict[str, Any]:
    """A project as JSON."""
    return {
        "id": project.pk,
        "workspace": project.workspace_id,
        "name": project_name(project),
        "color": project.color,
        "is_archived": project.archived_at is not None,
        "created_at": project.created_at,
    }


class ProjectsView(OrganizationView):
    """Make and list."""

    permissions = {"GET": Permission.OUTPUT_VIEW, "POST": Permission.PROJECT_MANAGE}

    @extend_schema(
        operation_id="list_projects",
        parameters=[WORKSPACE, ARCHIVED],
        responses={200: ProjectSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Projects of a workspace, newest first."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.OUTPUT_VIEW)
        with_archived = request.GET.get("archived", "").lower() in ("1", "true")
        projects = projects_of(workspace, with_archived=with_archived)
        return Response([project_json(project) for project in projects])

    @extend_schema(
        operation_id="create_project",
        request=ProjectRequestSerializer,
        responses={201: ProjectSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """A new project; no two open ones of a workspace have the same name."""
        body = json_object(request)
        workspace = workspace_of(self, body.get("workspace"), Permission.PROJECT_MANAGE)
        project = create_project(
            actor=self.actor,
            workspace=workspace,
            name=body.get("name"),
            color=body.get("color", COLOR_DEFAULT),
        )
        return Response(project_json(project), status=201)


class ProjectView(OrganizationView):
    """One project."""

    permissions = {"GET": Permission.OUTPUT_VIEW, "PATCH": Permission.PROJECT_MANAGE}

    @extend_schema(operation_id="get_project", responses={200: ProjectSerializer, **ERRORS})
    def get(self, request: Request, project_id: str) -> Response:
        """The project."""
        project = get_project(self.actor, project_id, permission=Permission.OUTPUT_VIEW)
        return Response(project_json(project))

    @extend_schema(
        operation_id="change_project",
        request=ProjectChangeSerializer,
        responses={200: ProjectSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, project_id: str) -> Response:
        """Rename, recolor, archive or bring back. Pictures of an archived project stay."""
        project = get_project(self.actor, project_id, permission=Permission.PROJECT_MANAGE)
        change_project(actor=self.actor, project=project, change=_change(json_object(request)))
        return Response(project_json(project))


class ProjectOutputsView(OrganizationView):
    """Pictures of a project."""

    permissions = {"POST": Permission.PROJECT_MANAGE}

    @extend_schema(
        operation_id="place_outputs",
        request=PlacingSerializer,
        responses={200: PlacedSerializer, **BAD_INPUT},
    )
    def post(self, request: Request, project_id: str) -> Response:
        """Put pictures in, take others out. A picture is in one project or in none."""
        project = get_project(self.actor, project_id, permission=Permission.PROJECT_MANAGE)
        body = json_object(request)
        added, removed = place_in_and_out(
            actor=self.actor,
            project=project,
            add=strings_of(body, "add"),
            remove=strings_of(body, "remove"),
        )
        return Response({"added": added, "removed": removed})


def _change(body: dict[str, Any]) -> ProjectChange:
    """The wanted change.

    Raises:
        InvalidInputError: a value is of the wrong type.
    """
    kinds: dict[str, type] = {"name": str, "color": str, "is_archived": bool}
    problems = [
        FieldProblem(
            field=field, code="wrong_type", message=f"`{field}` must be a {kind.__name__}."
        )
        for field, kind in kinds.items()
        if field in body and not isinstance(body[field], kind)
    ]
    if problems:
        raise InvalidInputError(problems)
    return ProjectChange(**{field: body[field] for field in kinds if field in body})
