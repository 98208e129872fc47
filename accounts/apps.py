"""The accounts app."""

from importlib import import_module

from django.apps import AppConfig
from typing_extensions import override


class AccountsConfig(AppConfig):
    name = "accounts"

    @override
    def ready(self) -> None:
        """drf-spectacular finds extensions by their being imported; allauth tells by signals."""
        import_module("accounts.openapi")
        import_module("accounts.services.guarding").listen()
