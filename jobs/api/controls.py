"""ControlNets and their maps over the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.controls import DRAWN_HERE, THRESHOLD_MAX, THRESHOLD_MIN
from gpuagent.protocol.taxonomy import ControlKind
from jobs.api.common import workspace_of
from jobs.api.requests import CONTROL_KINDS
from jobs.api.uploads import ANSWERS, created
from jobs.control_choices import control_choices
from jobs.mapping import map_asked
from library.selectors import usable_versions
from studio.core.openapi import ERRORS
from studio.core.parsing import json_object
from workspaces.api import OrganizationView
from workspaces.services.maps import add_map
from workspaces.services.uploads import Upload

MAP_KINDS = [kind.value for kind in ControlKind if kind in DRAWN_HERE]


class ControlNetSerializer(serializers.Serializer[Any]):
    """A ControlNet that a recipe can name by its digest."""

    digest = serializers.CharField()
    name = serializers.CharField()
    architecture = serializers.CharField()
    licence = serializers.CharField()
    description = serializers.CharField()
    kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=CONTROL_KINDS),
        help_text="The maps it reads; empty if that is not known.",
    )
    models = serializers.ListField(
        child=serializers.CharField(), help_text="Digests of the models in `GET models` it fits."
    )


class MapRequestSerializer(serializers.Serializer[Any]):
    """What `POST maps` takes."""

    workspace = serializers.CharField(
        required=False, help_text="Default: the first workspace of the token's organization."
    )
    image = serializers.CharField(help_text="`sha256` from `POST uploads`.")
    kind = serializers.ChoiceField(choices=MAP_KINDS)
    width = serializers.IntegerField(required=False, help_text="Of the picture to be made.")
    height = serializers.IntegerField(required=False)
    low = serializers.IntegerField(
        required=False,
        min_value=THRESHOLD_MIN,
        max_value=THRESHOLD_MAX,
        help_text="Canny's thresholds, in hundredths of the step from black to white.",
    )
    high = serializers.IntegerField(
        required=False, min_value=THRESHOLD_MIN, max_value=THRESHOLD_MAX
    )


class ControlsView(OrganizationView):
    """ControlNets."""

    permissions = {"GET": Permission.MODEL_VIEW}

    @extend_schema(
        operation_id="list_controls", responses={200: ControlNetSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """The newest version of every ControlNet the organization sees."""
        return Response(control_choices(usable_versions()))


class MapsView(OrganizationView):
    """Maps made from pixels alone."""

    permissions = {"POST": Permission.UPLOAD_CREATE}

    @extend_schema(operation_id="add_map", request=MapRequestSerializer, responses=ANSWERS)
    def post(self, request: Request) -> Response:
        """Draw the map of a picture, and add it as one that a recipe can name."""
        raw = dict(json_object(request))
        workspace = workspace_of(self, raw.pop("workspace", None), Permission.UPLOAD_CREATE)
        drawn = add_map(actor=self.actor, workspace=workspace, asked=map_asked(raw))
        return created(Upload(picture=drawn, mask=None))
