"""`manage.py register_ip_adapter`: put an IP-Adapter, with its image encoder, into the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from library.management.commands.register_model import add_owner, checked_text, scope_of
from library.services.ip_adapters import register_ip_adapter
from library.services.registration import Description
from studio.core.errors import StudioError


class Command(BaseCommand):
    """Register a safetensors file as the newest version of an IP-Adapter."""

    help = (
        "Register an IP-Adapter (one safetensors file). Its image encoder is the folder "
        "image_encoder beside it, or one that is in the library."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="the .safetensors file")
        parser.add_argument("--name", required=True, help="an existing name gets a new version")
        parser.add_argument("--licence", default="", help="shown beside the name")
        parser.add_argument("--description", default="", help="a sentence about it")
        add_owner(parser)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        organization_id: str | None = options["organization"]
        description = Description(
            name=checked_text("name", options["name"], minimum=1),
            licence=checked_text("licence", options["licence"]),
            text=options["description"].strip(),
        )
        with scope_of(organization_id):
            try:
                version = register_ip_adapter(
                    options["path"].absolute(), description, organization_id=organization_id
                )
            except StudioError as error:
                raise CommandError(error.message) from error
            except OSError as error:
                raise CommandError(f"The files could not be stored: {error.strerror}.") from error
        self.stdout.write(
            f"{description.name} is in the library: version {version.number}, "
            f"{version.architecture}, digest {version.digest}"
        )
