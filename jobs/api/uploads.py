"""Starting pictures over the API."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import FileUploadParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import has_token
from accounts.http import takes_large_body
from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs import access
from jobs.api import serializers as shapes
from jobs.api.common import WORKSPACE, workspace_of
from studio.core.errors import InvalidInputError
from studio.core.openapi import BAD_INPUT, PROBLEM
from studio.core.parsing import json_object
from workspaces.api import OrganizationView
from workspaces.services.uploads import (
    Upload,
    add_upload,
    add_upload_from_address,
    add_upload_of,
    content_of,
)

ANSWERS = {201: shapes.UploadSerializer, **BAD_INPUT, 503: PROBLEM, 507: PROBLEM}
ADDRESS_FIELDS = frozenset({"url", "workspace"})


def created(upload: Upload) -> Response:
    """The answer about a picture that was added."""
    artifact = upload.picture
    body = {
        "id": artifact.pk,
        "sha256": artifact.sha256,
        "width": artifact.width,
        "height": artifact.height,
        "mask": upload.mask.sha256 if upload.mask is not None else None,
    }
    return Response(body, status=201)


@takes_large_body(settings.UPLOAD_MAX_BYTES, admits=has_token)
class UploadsView(OrganizationView):
    """From a file."""

    permissions = {"POST": Permission.UPLOAD_CREATE}
    parser_classes = [MultiPartParser, FileUploadParser]

    @extend_schema(
        operation_id="add_upload",
        parameters=[WORKSPACE],
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {"image": {"type": "string", "format": "binary"}},
                "required": ["image"],
            }
        },
        responses=ANSWERS,
    )
    def post(self, request: Request) -> Response:
        """Add a PNG, JPEG, WebP or AVIF picture."""
        workspace = workspace_of(self, request.GET.get("workspace"), Permission.UPLOAD_CREATE)
        content = content_of(next(iter(request.FILES.values()), None))
        return created(add_upload(actor=self.actor, workspace=workspace, content=content))


class UploadFromAddressView(OrganizationView):
    """From the web."""

    permissions = {"POST": Permission.UPLOAD_CREATE}

    @extend_schema(
        operation_id="add_upload_from_address",
        request=shapes.AddressSerializer,
        responses=ANSWERS,
    )
    def post(self, request: Request) -> Response:
        """Fetch a picture from a public web address and add it. Takes up to twenty seconds."""
        raw = json_object(request)
        if unknown := sorted(set(raw) - ADDRESS_FIELDS):
            message = "Only url and workspace may be there."
            raise InvalidInputError(
                [FieldProblem(field=unknown[0][:64], code="unknown_field", message=message)]
            )
        workspace = workspace_of(self, raw.get("workspace"), Permission.UPLOAD_CREATE)
        address = raw.get("url")
        upload = add_upload_from_address(
            actor=self.actor,
            workspace=workspace,
            address=address if isinstance(address, str) else "",
        )
        return created(upload)


class OutputStartView(OrganizationView):
    """From a picture that was made here."""

    permissions = {"POST": Permission.UPLOAD_CREATE}

    @extend_schema(operation_id="start_from_output", request=None, responses=ANSWERS)
    def post(self, request: Request, output_id: str) -> Response:
        """Make it a starting picture of its workspace, with the same pixels."""
        output = access.get_output(self.actor, output_id, permission=Permission.OUTPUT_VIEW)
        return created(add_upload_of(actor=self.actor, picture=output.picture))
