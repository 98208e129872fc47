"""Taking the background of a picture away."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from jobs import access
from jobs.api import serializers as shapes
from jobs.api.answering import KEY, NEW_JOB, PREFER, answer_submitted
from jobs.services.cutting import cut_output
from studio.core.parsing import json_object
from workspaces.api import OrganizationView


class OutputCutoutView(OrganizationView):
    """Cut out."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="cut_output",
        request=shapes.CutoutSerializer,
        parameters=[PREFER, KEY],
        responses=NEW_JOB,
    )
    def post(self, request: Request, output_id: str) -> Response:
        """A new job that makes a picture of its objects alone, or a mask of them."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_VIEW)
        said = json_object(request)
        submitted = cut_output(
            output=output,
            actor=self.actor,
            edge=said.get("cutout_edge"),
            result=said.get("cutout_result"),
            model=said.get("model"),
            tier=said.get("tier"),
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return answer_submitted(request, submitted)
