"""The API's list of LoRAs, embeddings, VAEs and IP-Adapters."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from jobs.adapter_choices import adapter_choices
from jobs.api.serializers import PresetSerializer
from library.selectors import usable_versions
from studio.core.openapi import ERRORS
from workspaces.api import OrganizationView


class AdapterSerializer(serializers.Serializer[Any]):
    """A LoRA, an embedding, a VAE or an IP-Adapter that a recipe can name by its digest."""

    digest = serializers.CharField()
    kind = serializers.CharField(help_text="`lora`, `embedding`, `vae` or `ip_adapter`.")
    name = serializers.CharField()
    architecture = serializers.CharField()
    licence = serializers.CharField()
    description = serializers.CharField()
    trigger_words = serializers.ListField(
        child=serializers.CharField(),
        help_text="Of an embedding the word that calls it; of a LoRA what its maker names.",
    )
    presets = PresetSerializer(
        many=True, help_text="Settings it was made for, like few steps; lay them over the request."
    )
    models = serializers.ListField(
        child=serializers.CharField(), help_text="Digests of the models in `GET models` it fits."
    )


class AdaptersView(OrganizationView):
    """LoRAs, embeddings, VAEs and IP-Adapters."""

    permissions = {"GET": Permission.MODEL_VIEW}

    @extend_schema(
        operation_id="list_adapters", responses={200: AdapterSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """The newest version of every LoRA, embedding, VAE and IP-Adapter the organization sees."""
        return Response(adapter_choices(usable_versions()))
