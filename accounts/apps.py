"""The accounts app."""

from importlib import import_module

from django.apps import AppConfig
from typing_extensions import override


class AccountsConfig(AppConfig):
    name = "accounts"

    @override
    def ready(self) -> None:
        """drf-spectacular finds extensions by their being imported."""
        import_module("accounts.openapi")
