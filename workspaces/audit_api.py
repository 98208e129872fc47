"""The API for the audit log."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.audit_log import page_of
from accounts.roles import Permission
from studio.core.openapi import PROBLEM
from workspaces.api import OrganizationView
from workspaces.audit_export import event_row
from workspaces.audit_filters import parse_filters
from workspaces.audit_names import names_in

QUERY = {
    "actor": "Id of a person or service account, `system` or `nobody`.",
    "action": "An action (`token.created`) or its noun (`token`).",
    "object": "Id of what it was done to.",
    "workspace": "Id of a workspace: what was done to it or in it.",
    "through": "`token` or `browser`.",
    "from": "First day (2027-01-31) or moment.",
    "to": "Last day, included; or the moment before which.",
    "zone": "Time zone of the days (`Europe/Berlin`); UTC if left out.",
    "before": "`next` of the page before.",
}


class AuditEventSerializer(serializers.Serializer[Any]):
    """Who did what, when, from where."""

    id = serializers.CharField()
    time = serializers.DateTimeField()
    actor = serializers.CharField()
    actor_name = serializers.CharField(allow_blank=True)
    token = serializers.CharField(allow_blank=True)
    token_name = serializers.CharField(allow_blank=True)
    action = serializers.CharField()
    object = serializers.CharField()
    object_name = serializers.CharField(allow_blank=True)
    details = serializers.DictField()
    address = serializers.CharField(allow_blank=True)


class AuditPageSerializer(serializers.Serializer[Any]):
    """A page of the log; `next` is the `before` of the one after it."""

    results = AuditEventSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class AuditEventsView(OrganizationView):
    """The log."""

    permissions = {"GET": Permission.AUDIT_VIEW}

    @extend_schema(
        operation_id="list_audit_events",
        parameters=[
            OpenApiParameter(name, OpenApiTypes.STR, description=text)
            for name, text in QUERY.items()
        ],
        responses={200: AuditPageSerializer, 401: PROBLEM, 403: PROBLEM, 422: PROBLEM},
    )
    def get(self, request: Request) -> Response:
        """Events, newest first; of a token that is limited to workspaces, theirs alone."""
        filters = parse_filters(request.GET, self.actor)
        events, following = page_of(filters, before=request.GET.get("before", "")[:30])
        names = names_in(events)
        results = [event_row(event, names) for event in events]
        return Response({"results": results, "next": following or None})
