"""Grids: one recipe with other values in each cell."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.sealing import SealBrokenError
from jobs.api.answering import KEY
from jobs.api.common import WORKSPACE, workspace_of
from jobs.api.requests import JobRequestSerializer
from jobs.axes import PARAMETERS, Axis, cells
from jobs.grid_sheets import cells_of
from jobs.models import Grid
from jobs.services.grids import Plan, axes_of, get_grid, grids_of, make_grid, plan_grid
from studio.core.openapi import BAD_INPUT, ERRORS
from studio.core.parsing import json_object
from workspaces.api import OrganizationView
from workspaces.models import Workspace


class AxisSerializer(serializers.Serializer[Any]):
    """What varies."""

    parameter = serializers.CharField(
        help_text=f"One of: {', '.join(PARAMETERS)}; `lora:DIGEST` for one of several."
    )
    values = serializers.ListField(
        child=serializers.CharField(), help_text="Or a text, such as `20-40 (+5), 60`."
    )


class GridRequestSerializer(JobRequestSerializer):
    """A job request, and what of it varies."""

    axes = AxisSerializer(many=True, help_text="x, y and z: one to three.")


class GridCountSerializer(serializers.Serializer[Any]):
    """What a request would make."""

    pictures = serializers.IntegerField()
    axes = AxisSerializer(many=True)


class CellSerializer(serializers.Serializer[Any]):
    """A job in its place: along x first, then y, then z."""

    values = serializers.ListField(child=serializers.CharField())
    job = serializers.CharField()
    status = serializers.CharField()
    output = serializers.CharField(allow_null=True)


class GridSerializer(serializers.Serializer[Any]):
    """A grid."""

    id = serializers.CharField()
    workspace = serializers.CharField()
    created_at = serializers.DateTimeField()
    axes = AxisSerializer(many=True)


class GridDetailSerializer(GridSerializer):
    """A grid with its cells as they stand."""

    cells = CellSerializer(many=True)


class _PlanningView(OrganizationView):
    def _planned(self, raw: dict[str, Any]) -> tuple[Workspace, Plan]:
        workspace = workspace_of(self, raw.pop("workspace", None), Permission.JOB_SUBMIT)
        axes = raw.pop("axes", None)
        return workspace, plan_grid(actor=self.actor, workspace=workspace, raw=raw, axes=axes)


class GridsView(_PlanningView):
    """Make and list."""

    permissions = {"GET": Permission.OUTPUT_VIEW, "POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="list_grids",
        parameters=[WORKSPACE],
        responses={200: GridSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """The newest fifty grids of a workspace."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.OUTPUT_VIEW)
        return Response([_json(grid) for grid in grids_of(workspace)])

    @extend_schema(
        operation_id="create_grid",
        request=GridRequestSerializer,
        parameters=[KEY],
        responses={200: GridDetailSerializer, 201: GridDetailSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """Ask for all cells (100 at most) or none; in the background if no tier is named."""
        raw = json_object(request)
        project, tier = raw.pop("project", None), raw.pop("tier", None)
        raw.pop("alternatives", None)
        workspace, plan = self._planned(raw)
        made = make_grid(
            actor=self.actor,
            workspace=workspace,
            plan=plan,
            project_id=project,
            tier=tier,
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return Response(_detail(made.grid), status=201 if made.is_new else 200)


class GridCountView(_PlanningView):
    """Count before asking."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="count_grid",
        request=GridRequestSerializer,
        responses={200: GridCountSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """How many pictures a grid would make, with its values written out."""
        raw = json_object(request)
        for beside in ("project", "tier", "alternatives"):
            raw.pop(beside, None)
        _workspace, plan = self._planned(raw)
        axes = [_axis(axis) for axis in plan.axes]
        return Response({"pictures": len(plan.requests), "axes": axes})


class GridView(OrganizationView):
    """One grid."""

    permissions = {"GET": Permission.OUTPUT_VIEW}

    @extend_schema(operation_id="get_grid", responses={200: GridDetailSerializer, **ERRORS})
    def get(self, request: Request, grid_id: str) -> Response:
        """The grid with its cells as they stand."""
        return Response(_detail(get_grid(self.actor, grid_id, permission=Permission.OUTPUT_VIEW)))


def _axis(axis: Axis) -> dict[str, Any]:
    return {"parameter": axis.parameter, "values": list(axis.values)}


def _opened(grid: Grid) -> list[Axis]:
    """None where the key is gone."""
    try:
        return axes_of(grid)
    except SealBrokenError:
        return []


def _json(grid: Grid) -> dict[str, Any]:
    return {
        "id": grid.pk,
        "workspace": grid.workspace_id,
        "created_at": grid.created_at,
        "axes": [_axis(axis) for axis in _opened(grid)],
    }


def _detail(grid: Grid) -> dict[str, Any]:
    axes = _opened(grid)
    places = zip(cells(axes), cells_of(grid), strict=False) if axes else ()
    told = [
        {
            "values": list(values),
            "job": cell.job_id,
            "status": cell.status,
            "output": cell.output.pk if cell.output else None,
        }
        for values, cell in places
    ]
    return {**_json(grid), "cells": told}
