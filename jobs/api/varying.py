"""Variations of a picture."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from jobs import access
from jobs.api.answering import KEY, NEW_JOB, PREFER, answer_submitted
from jobs.scheduling import Tier
from jobs.services.varying import VARIATION_STRENGTH, VARIATIONS, vary_output
from studio.core.parsing import json_object
from workspaces.api import OrganizationView


class VariationsSerializer(serializers.Serializer[Any]):
    """Body of `POST outputs/{id}/variations`."""

    count = serializers.IntegerField(
        required=False, min_value=1, max_value=16, help_text=f"{VARIATIONS} if left out."
    )
    strength = serializers.FloatField(
        required=False, max_value=1, help_text=f"{VARIATION_STRENGTH} if left out; more than 0."
    )
    seed = serializers.IntegerField(required=False, help_text="Random if left out.")
    tier = serializers.ChoiceField(required=False, choices=[tier.value for tier in Tier])


class OutputVariationsView(OrganizationView):
    """Vary."""

    permissions = {"POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="vary_output",
        request=VariationsSerializer,
        parameters=[PREFER, KEY],
        responses=NEW_JOB,
    )
    def post(self, request: Request, output_id: str) -> Response:
        """A new job with pictures near this one."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_VIEW)
        said = json_object(request)
        submitted = vary_output(
            output=output,
            actor=self.actor,
            count=said.get("count"),
            strength=said.get("strength"),
            seed=said.get("seed"),
            tier=said.get("tier"),
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return answer_submitted(request, submitted)
