"""Prompts that stand for several, and the lists of words they draw from."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from jobs.api import serializers as shapes
from jobs.api.answering import KEY
from jobs.api.common import WORKSPACE, workspace_of
from jobs.api.requests import JobRequestSerializer
from jobs.models import Wildcard
from jobs.services.batches import Batch, plan_batch, submit_batch
from jobs.services.wildcards import (
    ENTRIES_MAX,
    ENTRY_MAX,
    NAME_MAX,
    WordList,
    add_wildcard,
    change_wildcard,
    get_wildcard,
    lists_of,
    open_list,
    remove_wildcard,
)
from studio.core.openapi import BAD_INPUT, ERRORS
from studio.core.parsing import json_object
from workspaces.api import OrganizationView
from workspaces.models import Workspace

PROMPTS_SHOWN = 10


class BatchSerializer(serializers.Serializer[Any]):
    """What a request with alternatives made."""

    pictures = serializers.IntegerField()
    jobs = shapes.JobSerializer(many=True)


class BatchCountSerializer(serializers.Serializer[Any]):
    """What a request would make."""

    pictures = serializers.IntegerField()
    jobs = serializers.IntegerField()
    prompts = serializers.ListField(
        child=serializers.CharField(), help_text="The first ten as they would be."
    )


class WildcardSerializer(serializers.Serializer[Any]):
    """A list of words for prompts."""

    id = serializers.CharField()
    name = serializers.CharField(help_text="Prompts call it as `__name__`.")
    entries = serializers.ListField(child=serializers.CharField())


class WildcardRequestSerializer(serializers.Serializer[Any]):
    """A new list."""

    workspace = serializers.CharField(
        required=False, help_text="Default: the first workspace of the token's organization."
    )
    name = serializers.CharField(max_length=NAME_MAX)
    entries = serializers.ListField(
        child=serializers.CharField(max_length=ENTRY_MAX), max_length=ENTRIES_MAX
    )


class WildcardChangeSerializer(serializers.Serializer[Any]):
    """What to change; what is left out stays."""

    name = serializers.CharField(max_length=NAME_MAX, required=False)
    entries = serializers.ListField(
        child=serializers.CharField(max_length=ENTRY_MAX), max_length=ENTRIES_MAX, required=False
    )


class _BatchView(OrganizationView):
    permissions = {"POST": Permission.JOB_SUBMIT}

    def _planned(self, raw: dict[str, Any]) -> tuple[Workspace, Batch]:
        workspace = workspace_of(self, raw.pop("workspace", None), Permission.JOB_SUBMIT)
        choosing = raw.pop("alternatives", None)
        planned = plan_batch(actor=self.actor, workspace=workspace, raw=raw, choosing=choosing)
        return workspace, planned


class BatchesView(_BatchView):
    """Ask for all at once."""

    @extend_schema(
        operation_id="submit_batch",
        request=JobRequestSerializer,
        parameters=[KEY],
        responses={200: BatchSerializer, 201: BatchSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """Ask for pictures with alternatives: as many jobs as they need, or none of them."""
        raw = json_object(request)
        project, tier = raw.pop("project", None), raw.pop("tier", None)
        workspace, batch = self._planned(raw)
        submitted = submit_batch(
            actor=self.actor,
            workspace=workspace,
            batch=batch,
            project_id=project,
            tier=tier,
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        jobs = [made.job for made in submitted]
        status = 201 if any(made.is_new for made in submitted) else 200
        body = {"pictures": sum(job.count for job in jobs), "jobs": shapes.jobs_json(jobs)}
        return Response(body, status=status)


class BatchCountView(_BatchView):
    """Count before asking."""

    @extend_schema(
        operation_id="count_batch",
        request=JobRequestSerializer,
        responses={200: BatchCountSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """How many jobs and pictures a request would make, and their first prompts."""
        raw = json_object(request)
        for beside in ("project", "tier"):
            raw.pop(beside, None)
        _workspace, batch = self._planned(raw)
        prompts = [str(one.get("prompt", "")) for one in batch.requests[:PROMPTS_SHOWN]]
        body = {"pictures": batch.pictures, "jobs": len(batch.requests), "prompts": prompts}
        return Response(body)


class WildcardsView(OrganizationView):
    """Write and list."""

    permissions = {"GET": Permission.JOB_VIEW, "POST": Permission.JOB_SUBMIT}

    @extend_schema(
        operation_id="list_wildcards",
        parameters=[WORKSPACE],
        responses={200: WildcardSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """The lists of a workspace, by name."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.JOB_VIEW)
        return Response([_json(found) for found in lists_of(workspace)])

    @extend_schema(
        operation_id="create_wildcard",
        request=WildcardRequestSerializer,
        responses={201: WildcardSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """A new list; entries may hold alternatives and name other lists."""
        body = json_object(request)
        workspace = workspace_of(self, body.get("workspace"), Permission.JOB_SUBMIT)
        row = add_wildcard(
            actor=self.actor,
            workspace=workspace,
            name=body.get("name"),
            entries=body.get("entries"),
        )
        return Response(_json(open_list(row)), status=201)


class WildcardView(OrganizationView):
    """One list."""

    permissions = {
        "GET": Permission.JOB_VIEW,
        "PATCH": Permission.JOB_SUBMIT,
        "DELETE": Permission.JOB_SUBMIT,
    }

    def _row(self, wildcard_id: str, permission: Permission) -> Wildcard:
        return get_wildcard(self.actor, wildcard_id, permission=permission)

    @extend_schema(operation_id="get_wildcard", responses={200: WildcardSerializer, **ERRORS})
    def get(self, request: Request, wildcard_id: str) -> Response:
        """Its name and entries."""
        return Response(_json(open_list(self._row(wildcard_id, Permission.JOB_VIEW))))

    @extend_schema(
        operation_id="change_wildcard",
        request=WildcardChangeSerializer,
        responses={200: WildcardSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, wildcard_id: str) -> Response:
        """Another name, other entries. Pictures that were made keep their words."""
        row, body = self._row(wildcard_id, Permission.JOB_SUBMIT), json_object(request)
        change_wildcard(
            actor=self.actor, wildcard=row, name=body.get("name"), entries=body.get("entries")
        )
        return Response(_json(open_list(row)))

    @extend_schema(operation_id="remove_wildcard", responses={204: None, **ERRORS})
    def delete(self, request: Request, wildcard_id: str) -> Response:
        """Gone for good."""
        row = self._row(wildcard_id, Permission.JOB_SUBMIT)
        remove_wildcard(actor=self.actor, wildcard=row)
        return Response(status=204)


def _json(found: WordList) -> dict[str, Any]:
    return {"id": found.id, "name": found.name, "entries": list(found.entries)}
