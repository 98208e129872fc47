"""`manage.py register_controlnet`: put a ControlNet into the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from gpuagent.protocol.taxonomy import ControlKind
from library.management.commands.register_model import add_owner, checked_text, scope_of
from library.services.controls import register_controlnet
from library.services.registration import Description
from studio.core.errors import StudioError


class Command(BaseCommand):
    """Register a folder or a safetensors file as the newest version of a ControlNet."""

    help = "Register a ControlNet (a diffusers folder, or one safetensors file)."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="the folder, or the .safetensors file")
        parser.add_argument("--name", required=True, help="an existing name gets a new version")
        parser.add_argument("--licence", default="", help="shown beside the name")
        parser.add_argument("--description", default="", help="a sentence about it")
        parser.add_argument(
            "--kind",
            action="append",
            default=[],
            choices=list(ControlKind),
            help="maps it reads, if its name does not say; may be given several times",
        )
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
                version = register_controlnet(
                    options["path"].absolute(),
                    description,
                    organization_id=organization_id,
                    kinds=[ControlKind(kind) for kind in options["kind"]],
                )
            except StudioError as error:
                raise CommandError(error.message) from error
            except OSError as error:
                raise CommandError(f"The files could not be stored: {error.strerror}.") from error
        kinds = ", ".join(version.trigger_words) or "of any kind"
        self.stdout.write(
            f"{description.name} is in the library: version {version.number}, "
            f"{version.architecture}, maps: {kinds}, digest {version.digest}"
        )
