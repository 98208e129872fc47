"""Models over the API: the library's entries, and files that are added to it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from typing_extensions import override

from accounts.authentication import has_token
from accounts.http import takes_large_body
from accounts.roles import Permission
from gpuagent.protocol.taxonomy import AssetKind
from library.presenters import asset_json, upload_json
from library.services.catalog import change_asset, get_asset, remove_asset, restore_asset
from library.services.upload_store import PIECE_BYTES
from library.services.uploads import (
    begin_fetch,
    begin_upload,
    cancel_upload,
    get_upload,
    receive_piece,
    recent_uploads,
    try_again,
)
from library.uploads import FIELDS, read_details
from studio.core.errors import invalid
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.api import OrganizationView

OFFSET = OpenApiParameter(
    "offset", OpenApiTypes.INT64, required=True, description="Where the piece begins, in bytes."
)
_UPLOAD_FIELDS = frozenset({*FIELDS, "file_name", "size_bytes", "fingerprint", "url"})

ASSET_KINDS = [kind.value for kind in AssetKind]


class MeasuredSerializer(serializers.Serializer[Any]):
    """What agents with a class of GPU measured."""

    gpu_class = serializers.CharField()
    resident_bytes = serializers.IntegerField()
    peak_bytes = serializers.IntegerField()


class VersionSerializer(serializers.Serializer[Any]):
    """A version; its files never change."""

    id = serializers.CharField()
    number = serializers.IntegerField()
    digest = serializers.CharField()
    source_sha256 = serializers.CharField(help_text="Of the single file it was made from.")
    architecture = serializers.CharField()
    trigger_words = serializers.ListField(child=serializers.CharField())
    bytes = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    memory = MeasuredSerializer(many=True)


class AssetSerializer(serializers.Serializer[Any]):
    """A model, LoRA, embedding or upscaler with all its versions, the newest first."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=ASSET_KINDS)
    licence = serializers.CharField()
    description = serializers.CharField()
    example_prompts = serializers.ListField(child=serializers.CharField())
    presets = serializers.ListField(child=serializers.JSONField())
    is_public = serializers.BooleanField()
    removed_at = serializers.DateTimeField(allow_null=True)
    versions = VersionSerializer(many=True)


class AssetChangeSerializer(serializers.Serializer[Any]):
    """What to say anew; what is left out stays."""

    licence = serializers.CharField(required=False)
    description = serializers.CharField(required=False)
    example_prompts = serializers.ListField(child=serializers.CharField(), required=False)
    presets = serializers.ListField(child=serializers.JSONField(), required=False)


class DetailsSerializer(serializers.Serializer[Any]):
    """What the entry will say. A name that is there already gets a new version."""

    name = serializers.CharField(max_length=120)
    licence = serializers.CharField(required=False)
    description = serializers.CharField(required=False)
    trigger_words = serializers.ListField(child=serializers.CharField(), required=False)
    config = serializers.CharField(
        required=False, help_text="Of a map maker: the text of its `config.json`."
    )
    preprocessor = serializers.CharField(
        required=False, help_text="Of a map maker: the text of its `preprocessor_config.json`."
    )


class UploadRequestSerializer(DetailsSerializer):
    """A file to be sent, or `url` to be fetched from."""

    file_name = serializers.CharField(required=False)
    size_bytes = serializers.IntegerField(required=False)
    fingerprint = serializers.CharField(
        required=False, help_text="Your name for the file: the same again goes on with it."
    )
    url = serializers.CharField(required=False)


class ModelUploadSerializer(serializers.Serializer[Any]):
    """A file on its way into the library."""

    id = serializers.CharField()
    state = serializers.CharField(help_text="receiving, fetching, checking, done or failed.")
    file_name = serializers.CharField()
    size_bytes = serializers.IntegerField()
    received_bytes = serializers.IntegerField(help_text="The next piece begins here.")
    piece_bytes = serializers.IntegerField(help_text="How long each piece is but the last.")
    details = serializers.JSONField(help_text="What was said, without config and preprocessor.")
    problem = serializers.JSONField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    digest = serializers.CharField(allow_null=True)
    expires_at = serializers.DateTimeField()


class PieceParser(BaseParser):
    """A body that is taken as it is, whatever it says it is."""

    media_type = "*/*"

    @override
    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return read_piece(stream)


def read_piece(request: HttpRequest) -> bytes:
    """The body of a request that brings a piece; one byte too many is enough to refuse it."""
    return request.read(PIECE_BYTES + 1)


def offset_of(text: str) -> int:
    """The offset that an address names.

    Raises:
        InvalidInputError: it is none.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise invalid("offset", "not_a_number", "`offset` must be a whole number of bytes.")
    return int(text)


class AssetView(OrganizationView):
    """One model."""

    permissions = {
        "GET": Permission.MODEL_VIEW,
        "PATCH": Permission.MODEL_MANAGE,
        "DELETE": Permission.MODEL_MANAGE,
    }

    @extend_schema(operation_id="get_model", responses={200: AssetSerializer, **ERRORS})
    def get(self, request: Request, asset_id: str) -> Response:
        """What the library knows about it, removed ones included."""
        asset = get_asset(self.actor, asset_id, permission=Permission.MODEL_VIEW)
        return Response(asset_json(asset))

    @extend_schema(
        operation_id="change_model",
        request=AssetChangeSerializer,
        responses={200: AssetSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, asset_id: str) -> Response:
        """Change what is said about it. Public models: operators only."""
        get_asset(self.actor, asset_id, permission=Permission.MODEL_MANAGE)
        change_asset(actor=self.actor, asset_id=asset_id, said=json_object(request))
        return self.get(request, asset_id)

    @extend_schema(operation_id="remove_model", responses={200: AssetSerializer, **ERRORS})
    def delete(self, request: Request, asset_id: str) -> Response:
        """Take it out of choice; what was made with it can still be made again."""
        return Response(asset_json(remove_asset(actor=self.actor, asset_id=asset_id)))


class AssetRestoreView(OrganizationView):
    """A removed model."""

    permissions = {"POST": Permission.MODEL_MANAGE}

    @extend_schema(
        operation_id="restore_model", request=None, responses={200: AssetSerializer, **ERRORS}
    )
    def post(self, request: Request, asset_id: str) -> Response:
        """Have it chosen again."""
        return Response(asset_json(restore_asset(actor=self.actor, asset_id=asset_id)))


class ModelUploadsView(OrganizationView):
    """Files on their way into the library."""

    permissions = {"GET": Permission.MODEL_MANAGE, "POST": Permission.MODEL_MANAGE}

    @extend_schema(
        operation_id="list_model_uploads",
        responses={200: ModelUploadSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """What is on its way, has just arrived or was refused; the newest first."""
        return Response([upload_json(upload) for upload in recent_uploads()])

    @extend_schema(
        operation_id="begin_model_upload",
        request=UploadRequestSerializer,
        responses={
            200: ModelUploadSerializer,
            201: ModelUploadSerializer,
            **BAD_INPUT,
            503: PROBLEM,
            507: PROBLEM,
        },
    )
    def post(self, request: Request) -> Response:
        """Begin to add a file: say its name and size and send it in pieces, or give a `url`."""
        body = json_object(request)
        if unknown := sorted(set(body) - _UPLOAD_FIELDS):
            raise invalid(unknown[0][:64], "unknown_field", "There is no such field.")
        details = read_details(body)
        if "url" in body:
            fetched = begin_fetch(actor=self.actor, address=body["url"], details=details)
            return Response(upload_json(fetched), status=201)
        upload, is_new = begin_upload(
            actor=self.actor,
            file_name=body.get("file_name"),
            size_bytes=body.get("size_bytes"),
            details=details,
            fingerprint=body.get("fingerprint"),
        )
        return Response(upload_json(upload), status=201 if is_new else 200)


class ModelUploadView(OrganizationView):
    """One of them."""

    permissions = {"GET": Permission.MODEL_MANAGE, "DELETE": Permission.MODEL_MANAGE}

    @extend_schema(
        operation_id="get_model_upload", responses={200: ModelUploadSerializer, **ERRORS}
    )
    def get(self, request: Request, upload_id: str) -> Response:
        """How far it is."""
        return Response(upload_json(get_upload(self.actor, upload_id)))

    @extend_schema(operation_id="cancel_model_upload", responses={204: None, **ERRORS})
    def delete(self, request: Request, upload_id: str) -> Response:
        """Give it up and forget its bytes; what is in the library stays."""
        cancel_upload(actor=self.actor, upload_id=upload_id)
        return Response(status=204)


@takes_large_body(PIECE_BYTES, admits=has_token)
class ModelUploadContentView(OrganizationView):
    """The bytes of a file."""

    permissions = {"PUT": Permission.MODEL_MANAGE}
    parser_classes = [PieceParser]

    @extend_schema(
        operation_id="put_model_upload_piece",
        parameters=[OFFSET],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: ModelUploadSerializer, 409: PROBLEM, **BAD_INPUT, 507: PROBLEM},
    )
    def put(self, request: Request, upload_id: str) -> Response:
        """Send the piece that begins at `offset`. After 409 ask how far it is, and go on there."""
        get_upload(self.actor, upload_id)
        offset = offset_of(request.GET.get("offset", ""))
        content = request.data if isinstance(request.data, bytes) else b""
        upload = receive_piece(
            actor=self.actor, upload_id=upload_id, offset=offset, content=content
        )
        return Response(upload_json(upload))


class ModelUploadRetryView(OrganizationView):
    """A file that was refused."""

    permissions = {"POST": Permission.MODEL_MANAGE}

    @extend_schema(
        operation_id="retry_model_upload",
        request=DetailsSerializer,
        responses={202: ModelUploadSerializer, 409: PROBLEM, **BAD_INPUT},
    )
    def post(self, request: Request, upload_id: str) -> Response:
        """Check it again under other details, without sending it again."""
        get_upload(self.actor, upload_id)
        details = read_details(json_object(request))
        upload = try_again(actor=self.actor, upload_id=upload_id, details=details)
        return Response(upload_json(upload), status=202)
