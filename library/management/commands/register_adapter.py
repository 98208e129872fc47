"""`manage.py register_adapter`: put a LoRA or an embedding into the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from library.management.commands.register_model import add_owner, checked_text, scope_of
from library.services.adapters import register_adapter
from library.services.registration import Description
from studio.core.errors import StudioError


class Command(BaseCommand):
    """Register a safetensors file as the newest version of a LoRA or an embedding."""

    help = "Register a LoRA or an embedding (one safetensors file), public or of one organization."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the .safetensors file")
        parser.add_argument("--name", required=True, help="an existing name gets a new version")
        parser.add_argument("--licence", default="", help="shown beside the name")
        parser.add_argument("--description", default="", help="a sentence about it")
        parser.add_argument(
            "--trigger",
            action="append",
            default=[],
            metavar="WORD",
            help="its trigger word; may be given several times for a LoRA",
        )
        add_owner(parser)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        organization_id: str | None = options["organization"]
        description = Description(
            name=checked_text("name", options["name"], minimum=1),
            licence=checked_text("licence", options["licence"]),
            text=options["description"].strip(),
        )
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        with scope_of(organization_id):
            try:
                version = register_adapter(
                    file,
                    description,
                    organization_id=organization_id,
                    trigger_words=options["trigger"],
                )
            except StudioError as error:
                raise CommandError(error.message) from error
            except OSError as error:
                raise CommandError(f"The file could not be stored: {error.strerror}.") from error
        words = ", ".join(version.trigger_words) or "none"
        self.stdout.write(
            f"{description.name} is in the library: {version.asset.kind}, version "
            f"{version.number}, {version.architecture}, trigger words: {words}, "
            f"digest {version.digest}"
        )
