"""`manage.py register_model`: put a diffusers folder, or one file, into the library."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from accounts.models import Organization
from library.services.files import register_file
from library.services.registration import Description, register_model
from studio.core.errors import StudioError
from studio.core.scoping import organization_scope, system_scope

TEXT_MAX = 120


class Command(BaseCommand):
    """Register a folder or a file as the newest version of a model."""

    help = (
        "Register a diffusers folder or a single safetensors file (recognized by its header) as a "
        "model, public or of one organization."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder",
            type=Path,
            help="the folder that holds model_index.json, or one .safetensors file",
        )
        parser.add_argument("--name", required=True, help="an existing name gets a new version")
        parser.add_argument("--licence", default="", help="shown beside the name")
        parser.add_argument("--description", default="", help="a sentence about the model")
        parser.add_argument(
            "--presets", type=Path, metavar="FILE.json", help="settings that suit the model"
        )
        add_owner(parser)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        organization_id: str | None = options["organization"]
        description = Description(
            name=checked_text("name", options["name"], minimum=1),
            licence=checked_text("licence", options["licence"]),
            text=options["description"].strip(),
            presets=_presets(options["presets"]),
        )
        if not folder.exists():
            raise CommandError(f"There is no folder or file {folder}.")
        with scope_of(organization_id):
            try:
                register = register_model if folder.is_dir() else register_file
                version = register(folder.resolve(), description, organization_id=organization_id)
            except StudioError as error:
                raise CommandError(error.message) from error
            except OSError as error:
                raise CommandError(f"The files could not be stored: {error.strerror}.") from error
        self.stdout.write(
            f"{description.name} is in the library: version {version.number}, "
            f"{version.architecture}, digest {version.digest}"
        )


def add_owner(parser: CommandParser) -> None:
    """Whose it will be has to be said: there is no default."""
    owner = parser.add_mutually_exclusive_group(required=True)
    owner.add_argument("--public", action="store_true", help="for everybody here")
    owner.add_argument("--organization", metavar="ORG_ID", help="for this organization only")


def checked_text(option: str, value: str, *, minimum: int = 0) -> str:
    """An option's text without blanks around it, if it is neither too short nor too long."""
    text = value.strip()
    if not minimum <= len(text) <= TEXT_MAX:
        raise CommandError(
            f"--{option} has {len(text)} characters; give it {minimum} to {TEXT_MAX}."
        )
    return text


def _presets(path: Path | None) -> list[object] | None:
    """What the file holds; registering checks each preset."""
    if path is None:
        return None
    try:
        presets = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is not JSON.") from error
    if not isinstance(presets, list):
        raise CommandError(f"{path} must hold a list of presets.")
    return presets


def scope_of(organization_id: str | None) -> AbstractContextManager[None]:
    """Where the model will belong; a mistyped organization is answered with those there are."""
    if organization_id is None:
        return system_scope()
    if not Organization.objects.filter(pk=organization_id).exists():
        known = Organization.objects.order_by("created_at").values_list("pk", "name")[:20]
        names = ", ".join(f"{pk} ({name})" for pk, name in known) or "none yet"
        raise CommandError(f"There is no organization {organization_id}. There are: {names}.")
    return organization_scope(organization_id)
